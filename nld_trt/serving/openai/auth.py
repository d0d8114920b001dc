# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""API keys: who may use the front."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from pathlib import Path

from nld_trt.errors import InputError
from nld_trt.serving.openai.errors import NO_KEY, ApiError

_SCHEME = "bearer"


class Keys:
    """The keys that are accepted. Without any, every request is.

    Args:
        keys: texts that clients send as ``Authorization: Bearer KEY``.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._keys = tuple(key.encode() for key in keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    @classmethod
    def read(cls, path: Path | None) -> Keys:
        """Read a file with one key on each line. Blank lines and lines that begin with # are skipped.

        Raises:
            InputError: the file cannot be read, or has no key.
        """
        if path is None:
            return cls()
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the file of API keys {path} cannot be read: {error}") from error
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys:
            raise InputError(f"{path} has no API key", fix="Write one key on each line.")
        return cls(keys)

    def check(self, header: str | None) -> None:
        """Check the header ``Authorization`` of a request.

        Raises:
            ApiError: it has none of the keys. The message does not repeat what it has.
        """
        if not self._keys:
            return
        scheme, _, key = (header or "").partition(" ")
        # Every key is compared, and in the same time, so that the time says nothing about any of them.
        matches = [hmac.compare_digest(key.strip().encode(), known) for known in self._keys]
        if scheme.lower() != _SCHEME or not any(matches):
            found = "no API key was given" if not header else "the API key is not one of this server's"
            raise ApiError(NO_KEY, f"{found}; send the header Authorization: Bearer KEY")

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Options of an emitter, as KEY=VALUE; a key may begin with the platform that it is for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nld_trt import names
from nld_trt.errors import InputError

_OPTION = re.compile(r"(?:(?P<platform>[a-z0-9-]+)\.)?(?P<key>[a-z][a-z0-9-]*)=(?P<value>[^\n]*)")


@dataclass(frozen=True)
class EmitOptions:
    """Values by platform and key; the platform None is every one."""

    values: Mapping[tuple[str | None, str], str]

    @classmethod
    def parse(cls, given: Sequence[str]) -> EmitOptions:
        """Read options.

        Raises:
            InputError: one has not that form, or a platform that is none.
        """
        values = {}
        for text in given:
            found = _OPTION.fullmatch(text)
            if found is None:
                raise InputError(f"--option {text!r} is not KEY=VALUE or PLATFORM.KEY=VALUE, such as partition=gpu")
            platform = found["platform"]
            if platform is not None and platform not in names.PLATFORMS:
                raise InputError(f"--option {text} is for {platform}; platforms: {', '.join(names.PLATFORMS)}")
            values[platform, found["key"]] = found["value"]
        return cls(values)

    def of(self, platform: str | None) -> dict[str, str]:
        """The options of a platform, with those of every platform; its own win."""
        general = {key: value for (which, key), value in self.values.items() if which is None}
        own = {key: value for (which, key), value in self.values.items() if which == platform and which is not None}
        return {**general, **own}

    def check(self, known: Sequence[str], emitter: str) -> None:
        """Refuse options that an emitter does not have.

        Raises:
            InputError: naming them.
        """
        unknown = [key for _, key in self.values if key not in known]
        if unknown:
            raise InputError(
                f"--emit {emitter} has no option {', '.join(unknown)}", fix=f"Its options: {', '.join(known)}"
            )

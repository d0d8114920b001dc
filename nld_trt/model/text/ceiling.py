# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A ceiling of a text's tokens, which a text that is far too long meets after its first part."""

from __future__ import annotations

from collections.abc import Callable

from nld_trt.errors import InputError

# Characters that are tokenized at once: for a long run of one letter the time grows faster than the length.
_PIECE = 32 * 1024
# Tokens by which cutting a text changes its count at most, generously.
_SLACK = 16
# Bytes of a character in UTF-8 at most, and so its tokens.
_BYTES = 4


def check_ceiling(text: str, most: int, count: Callable[[str], int]) -> None:
    """Refuse a text that certainly has more than ``most`` tokens, in a time that grows with ``most`` only.

    Args:
        count: returns the tokens of a text.

    Raises:
        InputError: it has more.
    """
    if len(text) <= max(_PIECE, most // _BYTES):
        return
    found = 0
    for start in range(0, len(text), _PIECE):
        found += max(0, count(text[start : start + _PIECE]) - _SLACK)
        if found > most:
            raise InputError(
                f"the prompt has {len(text)} characters, and its first {min(start + _PIECE, len(text))} are more than "
                f"{most} tokens already; the engine was built for {most}, answer included",
                fix="Shorten it, or rebuild the engine with a larger nld-trt build --max-seq-len.",
            )

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Text from tokens as they come, up to the first stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class TextStream:
    """Turns tokens into text as they come, and watches for stop strings.

    Text that could still become a stop string is held back until it cannot.

    Attributes:
        text: all that became final.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str]) -> None:
        from tokenizers.decoders import DecodeStream

        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._stop = tuple(stop)
        self._held = ""
        self.text = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """Text that became final with this token; empty while a character or a stop string is open."""
        if self.stopped:
            return ""
        piece = self._stream.step(self._tokenizer, token) or ""
        if not self._stop:
            self.text += piece
            return piece
        self._held += piece
        found = [position for text in self._stop if (position := self._held.find(text)) >= 0]
        if found:
            self.stopped = True
            return self._release(min(found), drop_rest=True)
        return self._release(len(self._held) - self._open_stop())

    def finish(self) -> str:
        """The text still held back at the end."""
        return "" if self.stopped else self._release(len(self._held))

    def _open_stop(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        return max(
            (size for text in self._stop for size in range(1, len(text)) if self._held.endswith(text[:size])), default=0
        )

    def _release(self, count: int, *, drop_rest: bool = False) -> str:
        released, rest = self._held[:count], self._held[count:]
        self._held = "" if drop_rest else rest
        self.text += released
        return released

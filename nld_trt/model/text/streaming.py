# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Decodes tokens to text as they arrive, up to the first stop string."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class TextStream:
    """Decodes tokens to text as they arrive, and looks for stop strings.

    Text that could be the beginning of a stop string is held back until that is decided.

    Args:
        kept: texts of special tokens that are part of the text, by id; others are left out.
        opening: text before that of the first token.

    Attributes:
        text: all text that is final.
    """

    def __init__(
        self, tokenizer: Tokenizer, stop: Sequence[str], *, kept: Mapping[int, str] | None = None, opening: str = ""
    ) -> None:
        from tokenizers.decoders import DecodeStream

        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._stop = tuple(stop)
        self._kept = dict(kept or {})
        self._opening = opening
        self._held = ""
        self.text = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """Add a token. Returns the text that became final; empty while a character or a stop string is incomplete."""
        if self.stopped:
            return ""
        decoded = self._stream.step(self._tokenizer, token) or self._kept.get(token, "")
        piece, self._opening = self._opening + decoded, ""
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
        """End the stream. Returns the text that was held back."""
        return "" if self.stopped else self._release(len(self._held))

    def _open_stop(self) -> int:
        """Returns the length of the longest suffix of the held text that begins a stop string."""
        return max(
            (size for text in self._stop for size in range(1, len(text)) if self._held.endswith(text[:size])), default=0
        )

    def _release(self, count: int, *, drop_rest: bool = False) -> str:
        released, rest = self._held[:count], self._held[count:]
        self._held = "" if drop_rest else rest
        self.text += released
        return released

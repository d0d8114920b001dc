# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Splits a chat answer as it arrives: what the model thinks, what it says, and the tools that it calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from nld_trt.model.text.markers import THINKING, TOOL_CALLS, Markers
from nld_trt.serving.openai.tools import Call, MalformedCallError, Tools

CONTENT: Final = "content"
REASONING: Final = "reasoning_content"


@dataclass(frozen=True)
class Said:
    """A piece of text.

    Attributes:
        name: the field of a message that it belongs to.
    """

    name: Literal["content", "reasoning_content"]
    text: str


Part = Said | Call


class Splitter:
    """Splits one answer. Text that could be the beginning of a marker is held back, and so is a call until its end.

    A call that is malformed or has no end stays text, with its markers. Line breaks beside a marker are dropped.

    Args:
        tools: what the request offers; None if calls stay text.
    """

    def __init__(self, tools: Tools | None) -> None:
        self._tools = tools
        self._held = ""
        self._inside: Markers | None = None
        self._after_marker = False
        self._openings = {THINKING.opening: THINKING, **({} if tools is None else {m.opening: m for m in TOOL_CALLS})}
        self.calls = 0

    def push(self, text: str) -> Iterator[Part]:
        """Add text. Yields the parts that are decided."""
        self._held += text
        while True:
            # A closing marker where nothing is open is left out: templates of this family write one of their own.
            wanted = (*self._openings, THINKING.closing) if self._inside is None else (self._inside.closing,)
            place, marker = min(
                ((self._held.find(each), each) for each in wanted if each in self._held), default=(-1, "")
            )
            if place < 0:
                break
            before, self._held = self._held[:place], self._held[place + len(marker) :]
            yield from self._ended(before, marker)
        if self._inside not in TOOL_CALLS:
            count = len(self._held) - _beginning(self._held, wanted)
            ready, self._held = self._held[:count], self._held[count:]
            yield from self._say(ready)

    def finish(self) -> Iterator[Part]:
        """End the answer. Yields what was held back."""
        rest, self._held = self._held, ""
        if self._inside in TOOL_CALLS:
            assert self._inside is not None
            rest, self._inside = self._inside.opening + rest, None
        yield from self._say(rest)

    def _ended(self, before: str, marker: str) -> Iterator[Part]:
        """Take in the text before a marker, and what the marker says of the text after it."""
        inside = self._inside
        if inside in TOOL_CALLS:
            assert inside is not None
            self._inside = None
            yield from self._call(before, inside)
        else:
            yield from self._say(before)
            self._inside = self._openings.get(marker) if inside is None else None
        self._after_marker = True

    def _call(self, text: str, markers: Markers) -> Iterator[Part]:
        assert self._tools is not None
        try:
            calls = self._tools.read(text)
        except MalformedCallError:
            yield from self._say(markers.opening + text + markers.closing)
            return
        for call in calls:
            if self._tools.parallel or not self.calls:
                self.calls += 1
                yield call

    def _say(self, text: str) -> Iterator[Said]:
        if self._after_marker:
            text = text.lstrip("\n")
        if text:
            self._after_marker = False
            yield Said(CONTENT if self._inside is None else REASONING, text)


def _beginning(text: str, markers: tuple[str, ...]) -> int:
    """The length of the longest end of ``text`` that begins one of ``markers``."""
    return max((size for each in markers for size in range(1, len(each)) if text.endswith(each[:size])), default=0)

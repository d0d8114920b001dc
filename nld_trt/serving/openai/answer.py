# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Answers as JSON: whole ones, and the chunks of a stream."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from itertools import count
from typing import Any, Final

from nld_trt.serving.openai.parts import CONTENT, Part, Said, Splitter
from nld_trt.serving.openai.request import Asked
from nld_trt.serving.openai.usage import Tally
from nld_trt.serving.triton.client import Chunk

Arrivals = AsyncIterable[tuple[int, Chunk]]

# The reason of an answer that ends by itself, and what it is called where tools were called.
_STOP: Final = "stop"
_CALLS: Final = "tool_calls"


class _Choice:
    """One choice: its text is split into parts where it is a message.

    Attributes:
        numbers: of the calls, in their order.
    """

    def __init__(self, asked: Asked) -> None:
        self._splitter = Splitter(asked.tools) if asked.form.chat else None
        self.numbers = count()
        self.finish_reason: str | None = None

    def take(self, chunk: Chunk) -> Iterable[Part]:
        """Take in a chunk. Yields the parts that it completes."""
        if self._splitter is None:
            parts: Iterable[Part] = [Said(CONTENT, chunk.text)] if chunk.text else []
        else:
            parts = [*self._splitter.push(chunk.text), *(self._splitter.finish() if chunk.finish_reason else ())]
        self.finish_reason = chunk.finish_reason or None
        if self._splitter is not None and self._splitter.calls and self.finish_reason == _STOP:
            self.finish_reason = _CALLS
        return parts


class Answer:
    """The answer to one request.

    Attributes:
        tally: counts of what has arrived.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self.tally = Tally(asked)
        self._choices = [_Choice(asked) for _ in asked.inputs]
        self._name = uuid.uuid4().hex
        self._head: dict[str, Any] = {
            "id": f"{asked.form.prefix}-{self._name}",
            "created": int(time.time()),
            "model": asked.model,
        }

    async def whole(self, arrivals: Arrivals) -> dict[str, Any]:
        """Wait for every choice, and return the answer."""
        parts: list[list[Part]] = [[] for _ in self._choices]
        async for number, chunk in arrivals:
            self.tally.add(number, chunk)
            parts[number] += self._choices[number].take(chunk)
        form = self._asked.form
        return {
            **self._head,
            "object": form.whole,
            "choices": [
                form.choice(number, self._message(number, parts[number]), choice.finish_reason)
                for number, choice in enumerate(self._choices)
            ],
            "usage": self.tally.usage,
            **self._metrics,
        }

    async def chunks(self, arrivals: Arrivals) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the chunks of a stream: the role of each choice, its parts, its finish reason, and then the usage.

        The finish reason has a chunk of its own, because some clients read no text from the chunk that has it.
        """
        form, opened = self._asked.form, set()
        async for number, chunk in arrivals:
            self.tally.add(number, chunk)
            choice = self._choices[number]
            opening = form.opening(number)
            if number not in opened and opening is not None:
                yield self._chunk(opening)
            opened.add(number)
            for part in choice.take(chunk):
                yield self._chunk(form.piece(number, self._delta(number, part)))
            if choice.finish_reason:
                last = self._chunk(form.piece(number, {}, choice.finish_reason))
                yield last if self._asked.include_usage else {**last, **self._metrics}
        if self._asked.include_usage:
            yield {**self._chunk(), "usage": self.tally.usage, **self._metrics}

    def _delta(self, number: int, part: Part) -> dict[str, Any]:
        if isinstance(part, Said):
            return {part.name: part.text}
        index = next(self._choices[number].numbers)
        return {_CALLS: [{"index": index, **part.to_dict(f"{self._name}-{number}-{index}")}]}

    def _message(self, number: int, parts: Iterable[Part]) -> dict[str, Any]:
        """The parts of a whole choice by name. Beside calls, a text that is empty or space is null."""
        message: dict[str, Any] = {CONTENT: ""}
        for part in parts:
            if isinstance(part, Said):
                message[part.name] = message.get(part.name, "") + part.text
            else:
                index = next(self._choices[number].numbers)
                message.setdefault(_CALLS, []).append(part.to_dict(f"{self._name}-{number}-{index}"))
        if _CALLS in message and not message[CONTENT].strip():
            message[CONTENT] = None
        return message

    def _chunk(self, *choices: dict[str, Any]) -> dict[str, Any]:
        chunk = {**self._head, "object": self._asked.form.chunk, "choices": list(choices)}
        if self._asked.continuous_usage:
            chunk["usage"] = self.tally.usage
        elif self._asked.include_usage:
            # OpenAI: every chunk but the last has the field, with null.
            chunk["usage"] = None
        return chunk

    @property
    def _metrics(self) -> dict[str, Any]:
        metrics = self.tally.metrics
        return {"metrics": metrics} if metrics else {}

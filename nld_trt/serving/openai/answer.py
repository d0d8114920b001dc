# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Answers as JSON: whole ones, and the chunks of a stream."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any

from nld_trt.serving.openai.request import Asked
from nld_trt.serving.openai.usage import Tally
from nld_trt.serving.triton.client import Chunk

Arrivals = AsyncIterable[tuple[int, Chunk]]


class Answer:
    """The answer to one request.

    Attributes:
        tally: counts of what has arrived.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self.tally = Tally(asked)
        self._head: dict[str, Any] = {
            "id": f"{asked.form.prefix}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": asked.model,
        }

    async def whole(self, arrivals: Arrivals) -> dict[str, Any]:
        """Wait for every choice, and return the answer."""
        texts = [""] * len(self._asked.inputs)
        reasons: list[str | None] = [None] * len(texts)
        async for number, chunk in arrivals:
            self.tally.add(number, chunk)
            texts[number] += chunk.text
            reasons[number] = chunk.finish_reason or None
        form = self._asked.form
        return {
            **self._head,
            "object": form.whole,
            "choices": [
                form.choice(number, {"content": text}, reason)
                for number, (text, reason) in enumerate(zip(texts, reasons, strict=True))
            ],
            "usage": self.tally.usage,
            **self._metrics,
        }

    async def chunks(self, arrivals: Arrivals) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the chunks of a stream: the role of each choice, its texts, its finish reason, and then the usage.

        The finish reason has a chunk of its own, because some clients read no text from the chunk that has it.
        """
        form, opened = self._asked.form, set()
        async for number, chunk in arrivals:
            self.tally.add(number, chunk)
            opening = form.opening(number)
            if number not in opened and opening is not None:
                yield self._chunk(opening)
            opened.add(number)
            if chunk.text:
                yield self._chunk(form.piece(number, {"content": chunk.text}))
            if chunk.finish_reason:
                last = self._chunk(form.piece(number, {}, chunk.finish_reason))
                yield last if self._asked.include_usage else {**last, **self._metrics}
        if self._asked.include_usage:
            yield {**self._chunk(), "usage": self.tally.usage, **self._metrics}

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

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The batch: rows in any phase and any mode share each forward of one engine session.

Live rows are always the first cache rows. A row joins at the end, and when one finishes the last
takes its place, so no forward spends time on dead rows.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator

from nld_trt.decode.modes.base import Outcome, Pass
from nld_trt.decode.request import NEVER, Request
from nld_trt.decode.row import Emission, Row
from nld_trt.decode.text import Codec
from nld_trt.engine.session import Session, StepBuffers
from nld_trt.errors import InputError


class Decoder:
    """Continuous batching over one session. Not thread-safe.

    Attributes:
        max_rows: requests decoded together; the engine's limit unless a smaller number was given.
        engine_seconds: wall time spent inside the engine, for comparing with the time around it.
        steps: forwards executed.
    """

    def __init__(self, session: Session, codec: Codec | None = None, *, max_rows: int | None = None) -> None:
        self.session = session
        self.codec = codec
        limit = session.info.limits.max_batch_size
        self.max_rows = limit if max_rows is None else min(max_rows, limit)
        self.engine_seconds = 0.0
        self.steps = 0
        self._waiting: deque[Row] = deque()
        self._live: list[Row] = []
        self._cancelled: list[Row] = []
        self._spoiled: set[int] = set()

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._live or self._cancelled)

    @property
    def live_rows(self) -> int:
        return len(self._live)

    def submit(self, request: Request) -> Row:
        """Queue a request; it joins the batch when a row is free.

        Raises:
            InputError: the request does not fit this engine. Nothing is queued.
        """
        info = self.session.info
        request = request.resolved(info)
        if request.stop and self.codec is None:
            raise InputError("the engine has no tokenizer, so it cannot look for stop strings")
        text = self.codec.stream(request.stop) if self.codec is not None else None
        row = Row(request, info.config.mask_token_id, text)
        self._waiting.append(row)
        return row

    def cancel(self, row: Row) -> None:
        """Drop a request before the next forward; a finished one is left as it is."""
        if row in self._waiting:
            self._waiting.remove(row)
        elif row in self._live:
            self._release(self._live.index(row))
        else:
            return
        self._cancelled.append(row)

    def step(self) -> list[Emission]:
        """Run one forward over every live row; returns what it added, one emission per row."""
        ended = [row.cancel() for row in self._cancelled]
        self._cancelled.clear()
        self._scrub()
        self._admit()
        if not self._live:
            return ended
        passes = self._passes()
        buffers = self._fill(passes)
        started = time.perf_counter()
        self.session.execute(buffers)
        self.engine_seconds += time.perf_counter() - started
        self.steps += 1
        emissions = [row.advance(outcome) for row, outcome in zip(self._live, _outcomes(passes, buffers), strict=True)]
        for index in reversed(range(len(self._live))):
            if self._live[index].finish_reason is not None:
                self._release(index)
        self._scrub()
        return [*ended, *emissions]

    def run(self) -> Iterator[Emission]:
        """Emissions of every queued request until all are done."""
        while self.busy:
            yield from self.step()

    def _admit(self) -> None:
        while self._waiting and len(self._live) < self.max_rows and not self._spoiled:
            self._live.append(self._waiting.popleft())

    def _release(self, index: int) -> None:
        last = len(self._live) - 1
        if index != last:
            self.session.move_row(last, index)
        if self._live[last].spoiled:
            self._spoiled.add(last)
        self._live[index] = self._live[last]
        self._live.pop()

    def _scrub(self) -> None:
        """Overwrite free cache rows that hold numbers that are not finite, once that can be done.

        Attention would see them even behind its mask, where it multiplies them by 0.
        """
        if not self._spoiled:
            return
        clean = next((index for index, row in enumerate(self._live) if not row.spoiled), None)
        if clean is not None:
            for index in self._spoiled:
                self.session.move_row(clean, index)
        elif not self._live:
            # A session that shrinks its caches makes new ones.
            self.session.reserve(1, 1, empty=True)
        else:
            return
        self._spoiled.clear()

    def _passes(self) -> list[Pass]:
        """Every row's next pass. Prefill chunks adapt to the room behind the longest row.

        A forward writes ``width`` slots in every row, the padding of narrow rows included, so the
        caches must reach that far behind every row's length.
        """
        rows = self._live
        limits = self.session.info.limits
        block = max(row.state.block_length for row in rows)
        slots = max(row.slots_needed - row.state.block_length for row in rows) + block
        empty = all(row.state.cache_length == 0 for row in rows)
        self.session.reserve(len(rows), min(slots, limits.capacity), empty=empty)
        longest = max(row.state.cache_length for row in rows)
        chunk = max(1, min(limits.prompt_chunk, self.session.capacity - longest))
        return [row.next_pass(chunk) for row in rows]

    def _fill(self, passes: list[Pass]) -> StepBuffers:
        width = max(len(part.tokens) for part in passes)
        window = max(len(part.tokens) if part.all_logits else 1 for part in passes)
        buffers = self.session.step(len(passes), width, window)
        inputs = buffers.inputs
        tokens, logit_rows = inputs["tokens"], inputs["logit_rows"]
        for index, (row, part) in enumerate(zip(self._live, passes, strict=True)):
            count = len(part.tokens)
            tokens[index, :count] = part.tokens
            tokens[index, count:] = 0
            inputs["cache_length"][index] = row.state.cache_length
            inputs["valid_count"][index] = count
            inputs["causal"][index] = part.causal
            inputs["draft_adapter"][index] = part.adapter
            inputs["threshold"][index] = part.threshold
            inputs["quota"][index] = part.quota
            inputs["draw"][index] = part.draw
            for name, value in row.sampling.items():
                inputs[name][index] = value
            inputs["eos_token_id"][index] = NEVER if row.request.eos_token_id is None else row.request.eos_token_id
            if part.all_logits:
                logit_rows[index, :count] = range(count)
                logit_rows[index, count:] = -1
            else:
                logit_rows[index, 0] = count - 1
                logit_rows[index, 1:] = -1
        return buffers


def _outcomes(passes: list[Pass], buffers: StepBuffers) -> Iterator[Outcome]:
    outputs = buffers.outputs
    block_tokens, verified = outputs["block_tokens"].tolist(), outputs["verified_tokens"].tolist()
    masks_left, accepted = outputs["masks_left"].tolist(), outputs["accepted_count"].tolist()
    finite = outputs["finite"].tolist()
    for index, part in enumerate(passes):
        count = len(part.tokens) if part.all_logits else 1
        yield Outcome(
            block_tokens=block_tokens[index][:count],
            masks_left=masks_left[index],
            verified_tokens=verified[index][:count],
            accepted_count=accepted[index],
            finite=bool(finite[index]),
        )

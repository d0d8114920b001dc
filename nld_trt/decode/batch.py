# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The batch: rows in any phase and any mode share each forward of one engine session.

Live rows are always the first cache rows. A row joins at the end, and when one finishes the last
takes its place, so no forward spends time on dead rows.

The engine makes each row's next pass from the results of this one. As long as the rows stay the same, the host only
reads what was committed; when they change, it copies every row's next pass into the buffers of a new forward. A session
whose device works by itself is always given one forward more than the host has read, so that the device never waits
for the host. Requests that come or go, and passes that need the host, end such a stretch.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from nld_trt.decode.fill import Pass, fill, outcomes
from nld_trt.decode.request import Request, ResolvedRequest
from nld_trt.decode.row import Emission, Row
from nld_trt.engine.session import Session, StepBuffers
from nld_trt.errors import InputError
from nld_trt.model.text.codec import Codec


@dataclass(frozen=True)
class Forward:
    """A forward in flight: it was started, and its results may not have been read.

    Attributes:
        rows: the rows that were live when it was started, in the order of the cache rows.
        goes_on: the engine prepares the next pass of every row, and the host changes none of them.
    """

    buffers: StepBuffers
    rows: list[Row]
    goes_on: bool


class Batch:
    """Continuous batching over one session. Not thread-safe.

    Attributes:
        max_rows: requests decoded together; the engine's limit unless a smaller number was given.
        engine_seconds: wall time inside the engine; what is left of the loop's time is the host's.
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
        self._last: Forward | None = None
        self._ahead: Forward | None = None

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._live or self._cancelled or self._ahead)

    @property
    def live_rows(self) -> int:
        return sum(row.finish_reason is None for row in self._live)

    def submit(self, request: Request | ResolvedRequest) -> Row:
        """Queue a request; it joins the batch when a row is free.

        Raises:
            InputError: the request does not fit this engine. Nothing is queued.
        """
        resolved = self.resolved(request)
        text = None
        if self.codec is not None:
            text = self.codec.stream(resolved.stop, keep_markers=resolved.keep_markers, prompt=resolved.prompt_ids)
        row = Row(resolved, self.session.info.config.mask_token_id, text)
        self._waiting.append(row)
        return row

    def resolved(self, request: Request | ResolvedRequest) -> ResolvedRequest:
        """``request`` with the engine's defaults filled in; one that was resolved stays as it is.

        Raises:
            InputError: it does not fit this engine.
        """
        if request.stop and self.codec is None:
            raise InputError("the engine has no tokenizer, so it cannot look for stop strings")
        return request.resolved(self.session.info) if isinstance(request, Request) else request

    def cancel(self, row: Row) -> None:
        """Drop a request before the next forward; a finished one is left as it is.

        A round in progress ends there: what it has drafted is not verified.
        """
        if row in self._waiting:
            self._waiting.remove(row)
        elif row not in self._live or row.finish_reason is not None or row in self._cancelled:
            return
        self._cancelled.append(row)

    def reset(self) -> None:
        """Forget every request, in whatever state an interrupted step has left them; the session stays usable.

        Raises:
            OperationError: the session's device does not work. The requests are forgotten all the same.
        """
        try:
            if self._ahead is not None:
                self.session.wait(self._ahead.buffers)
            # A cache may hold numbers that are not finite, which the next request in that row would read.
            if self._live:
                self.session.reserve(self.session.row_count(len(self._live)), 1)
            for index in range(len(self._live)):
                self.session.clear_row(index)
        finally:
            self._waiting.clear()
            self._live.clear()
            self._cancelled.clear()
            self._last = self._ahead = None

    def step(self) -> list[Emission]:
        """Run one forward over every live row; returns what it added, one emission per row."""
        ended = [row.cancel() for row in self._cancelled]
        self._cancelled.clear()
        forward, self._ahead = self._ahead or self._launch(), None
        if forward is None:
            return ended
        if self.session.runs_ahead and self._goes_on(forward):
            self._ahead = self._follow(forward)
        emissions = self._finish(forward)
        if self._ahead is None:
            self._retire()
        return [*ended, *emissions]

    def run(self) -> Iterator[Emission]:
        """Emissions of every queued request until all are done."""
        while self.busy:
            yield from self.step()

    def _launch(self) -> Forward | None:
        """Start the forward that the engine has prepared, or one that the host fills where the rows have changed.

        Returns None where no row is live.
        """
        self._retire()
        self._admit()
        if not self._live:
            return None
        if self._last is not None and self._goes_on(self._last):
            return self._follow(self._last)
        passes = self._passes()
        buffers = fill(self.session, passes, rows=self.session.row_count(len(passes)))
        return self._start(Forward(buffers, list(self._live), all(row.goes_on for row in self._live)))

    def _follow(self, forward: Forward) -> Forward:
        """Start the forward that ``forward`` prepares for its rows."""
        return self._start(replace(forward, buffers=self.session.follow(forward.buffers)))

    def _start(self, forward: Forward) -> Forward:
        started = time.perf_counter()
        self.session.launch(forward.buffers)
        self.engine_seconds += time.perf_counter() - started
        self.steps += 1
        return forward

    def _goes_on(self, forward: Forward) -> bool:
        """Whether the next forward is the one that ``forward`` prepares.

        It is if no row has ended, none needs the host, and no request can join.
        """
        return (
            forward.goes_on
            and forward.rows == self._live
            and all(row.finish_reason is None for row in self._live)
            and not (self._waiting and len(self._live) < self.max_rows)
        )

    def _finish(self, forward: Forward) -> list[Emission]:
        """Wait for a forward and give its rows their results."""
        started = time.perf_counter()
        self.session.wait(forward.buffers)
        self.engine_seconds += time.perf_counter() - started
        self._last = forward
        passes = [row.pending for row in forward.rows]
        emissions = []
        for row, outcome in zip(forward.rows, outcomes(forward.buffers, passes), strict=True):
            if row.finish_reason is None:
                emissions.append(row.advance(outcome))
            else:
                # The row ended while the engine went on. This pass does not count, but it has written to the cache.
                row.spoiled |= not outcome.finite
        return emissions

    def _retire(self) -> None:
        """Remove the rows that have ended."""
        for index in reversed(range(len(self._live))):
            if self._live[index].finish_reason is not None:
                self._release(index)

    def _admit(self) -> None:
        while self._waiting and len(self._live) < self.max_rows:
            self._live.append(self._waiting.popleft())

    def _release(self, index: int) -> None:
        last = len(self._live) - 1
        if index != last:
            self.session.move_row(last, index)
        if self._live[last].spoiled:
            self.session.clear_row(last)
        self._live[index] = self._live[last]
        self._live.pop()

    def _passes(self) -> list[Pass]:
        """The next pass of every row, for a forward that the host fills. It makes the caches long enough for it.

        A prefill chunk is no longer than the slots that are left after the longest row.

        A forward writes ``width`` slots in every row, the padding of narrow rows included, so the
        caches must reach that far beyond every row's length.
        """
        rows = self._live
        limits = self.session.info.limits
        slots = max(row.request.slots_kept for row in rows) + max(row.request.overhang for row in rows)
        empty = all(row.cache_length == 0 for row in rows)
        self.session.reserve(self.session.row_count(len(rows)), min(slots, limits.capacity), empty=empty)
        longest = max(row.cache_length for row in rows)
        chunk = max(1, min(limits.prompt_chunk, self.session.capacity - longest))
        return [row.next_pass(chunk) for row in rows]

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The batch: rows in any phase and any mode take turns in the forwards of one engine session.

Rows that do the same share a forward over their rows of the caches (``decode.places``), and forwards of different kinds
follow each other (``decode.turns``): nobody's forward is as wide as a stranger's prompt or block.

The engine makes each row's next pass from the results of this one. As long as the rows of a forward stay the same, the
host only reads what was committed; when they change, it copies every row's next pass into the buffers of a new forward.
A session whose device works by itself is given one forward more than the host has read as long as all rows share it, so
that the device does not wait for the host. Requests that come or go, and passes that need the host, end such a stretch.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from nld_trt import names
from nld_trt.decode.auto.costs import CostTable
from nld_trt.decode.auto.steering import Steering, Switch
from nld_trt.decode.canvas import CanvasRow
from nld_trt.decode.fill import fill, idle_pass, outcomes
from nld_trt.decode.places import Places, Zone
from nld_trt.decode.request import Request, ResolvedRequest
from nld_trt.decode.row import Emission, Row
from nld_trt.decode.scripted import Script, ScriptedRow
from nld_trt.decode.slots import Slots
from nld_trt.decode.turns import PROMPTS, Turn, Turns, alike_run, widest_run
from nld_trt.engine.session import Session, StepBuffers
from nld_trt.errors import InputError
from nld_trt.model.text.codec import Codec
from nld_trt.model.text.streaming import TextStream

# Between two forwards the host takes less than this, unless it waits for requests.
_HOST_SECONDS = 0.005
# The last chunk of a prompt may be so many times as long as the others.
_LAST_CHUNK = 2


@dataclass(frozen=True)
class Forward:
    """A forward in flight: it was started, and its results may not have been read.

    Attributes:
        rows: its requests, in the order of the cache rows.
        turn: what these do, and ``counts`` how many requests did what when it was started.
        changes: of the places, when it was filled in.
        goes_on: the engine prepares the next pass of every row, and the host changes none of them.
        started: when it was launched.
    """

    buffers: StepBuffers
    rows: list[Row]
    turn: Turn
    counts: Mapping[Zone, int]
    changes: int
    goes_on: bool
    started: float = 0.0


class Batch:
    """Continuous batching over one session. Not thread-safe.

    Args:
        max_rows: requests decoded together; None means the engine's limit.
        prefix_caching: rows of ended requests are kept for requests whose prompts begin alike.
        max_num_batched_tokens: tokens that a round of forwards may compute while prompts are read; None lets a
            chunk of a prompt take as long as a forward of the rows that wait for it.
        costs: what forwards of the session cost, by which requests of mode auto are decoded; None refuses them.

    Attributes:
        script: what drafts of requests that are submitted from now on are told to have had accepted; None for what
            the engine accepts.
        steering: what decides how requests of mode auto are decoded; None without costs.
        max_rows: requests decoded together.
        slots: how long the caches of its rows are.
        engine_seconds: wall time inside the engine; what is left of the loop's time is the host's.
        steps: forwards executed.
    """

    def __init__(
        self,
        session: Session,
        codec: Codec | None = None,
        *,
        max_rows: int | None = None,
        prefix_caching: bool = False,
        max_num_batched_tokens: int | None = None,
        costs: CostTable | None = None,
    ) -> None:
        self.session = session
        self.codec = codec
        limits = session.info.limits
        self.max_rows = limits.max_batch_size if max_rows is None else min(max_rows, limits.max_batch_size)
        self.engine_seconds = 0.0
        self.steps = 0
        self._over_canvas = session.info.config.family.reads_canvas
        self._waiting: deque[Row] = deque()
        # What a canvas has cached depends on all of it.
        keeps_donors = prefix_caching and not self._over_canvas
        has_head = session.info.config.draft is not None
        self._places = Places(session, self.max_rows, keeps_donors=keeps_donors, repeats_last=has_head)
        self.slots = Slots(session, self._places)
        self._turns = Turns(limits.prompt_chunk, max_num_batched_tokens)
        self.script: Script | None = None
        self.steering: Steering | None = None
        if costs is not None:
            self.follow_load(costs)
        self._prompt_turns = 0
        self._submitted = 0
        self._cancelled: list[Row] = []
        self._last: Forward | None = None
        self._ahead: Forward | None = None
        # When the results of the last forward were there.
        self._read = 0.0

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._places.live or self._cancelled or self._ahead)

    @property
    def live_rows(self) -> int:
        return sum(row.finish_reason is None for row in self._places.live)

    def submit(self, request: Request | ResolvedRequest) -> Row:
        """Queue a request; it joins the batch when a row is free.

        Raises:
            InputError: the request does not fit this engine. Nothing is queued.
        """
        resolved = self.resolved(request)
        text = None
        if self.codec is not None:
            text = self.codec.stream(resolved.stop, keep_markers=resolved.keep_markers, prompt=resolved.prompt_ids)
        row = self._row(resolved, text)
        self._submitted += 1
        self._waiting.append(row)
        return row

    def _row(self, request: ResolvedRequest, text: TextStream | None) -> Row:
        mask = self.session.info.config.mask_id
        if self.script is not None:
            return ScriptedRow(request, mask, text, self.script, number=self._submitted)
        if self._over_canvas:
            shifted = self.session.info.config.family.shifted
            return CanvasRow(request, mask, text, number=self._submitted, shifted=shifted)
        return Row(request, mask, text, number=self._submitted)

    def resolved(self, request: Request | ResolvedRequest) -> ResolvedRequest:
        """``request`` with the engine's defaults filled in; one that was resolved stays as it is.

        Raises:
            InputError: it does not fit this engine.
        """
        if request.stop and self.codec is None:
            raise InputError("the engine has no tokenizer, so it cannot look for stop strings")
        resolved = request.resolved(self.session.info) if isinstance(request, Request) else request
        if resolved.auto and self.steering is None:
            raise InputError(
                f"mode is {names.AUTO!r}, which follows the load of a server or a sweep; here is none",
                fix=f"Use mode {names.LINEAR}, which is the fastest for one user, or nld-trt repo and nld-trt serve.",
            )
        return resolved

    def cancel(self, row: Row) -> None:
        """Drop a request before the next forward; a finished one is left as it is.

        A round in progress ends there: what it has drafted is not verified.
        """
        if row in self._waiting:
            self._waiting.remove(row)
        elif row not in self._places.live or row.finish_reason is not None or row in self._cancelled:
            return
        self._cancelled.append(row)

    def follow_load(self, costs: CostTable) -> None:
        """Take requests of mode auto from now on, and decode them by what forwards of the session cost."""
        self.steering = Steering(self.session, costs)
        self._turns.token_seconds = self.steering.token_seconds

    def take_switches(self) -> list[Switch]:
        """Changes of how requests of mode auto are decoded, since the last call."""
        return [] if self.steering is None else self.steering.take_switches()

    def reset(self) -> None:
        """Forget every request, in whatever state an interrupted step has left them; the session stays usable.

        Raises:
            OperationError: the session's device does not work. The requests are forgotten all the same.
        """
        try:
            if self._ahead is not None:
                self.session.wait(self._ahead.buffers)
        finally:
            self._waiting.clear()
            self._cancelled.clear()
            self._last = self._ahead = None
            self._places.forget()

    def step(self) -> list[Emission]:
        """Run one forward; returns what it added, one emission for each of its rows."""
        ended = [row.cancel() for row in self._cancelled]
        self._cancelled.clear()
        if self._ahead is None:
            ended += self._steer()
        forward, self._ahead = self._ahead or self._launch(), None
        if forward is None:
            return ended
        if self._may_run_ahead(forward):
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
        """Start the forward whose turn it is: the one that the engine has prepared, or one that the host fills.

        Returns None where no row is live.
        """
        self._retire()
        self._admit()
        zones = self._places.arrange()
        counts = {zone: len(places) for zone, places in zones.items()}
        blocks = self._places.rows(zones[Zone.BLOCK])
        rest = max((row.prompt_left for row in self._places.rows(zones[Zone.PROMPT])), default=0)
        turn = self._turns.next(counts, max((row.widest for row in blocks), default=0), rest)
        if turn is None:
            return None
        if turn == PROMPTS:
            decoded = counts[Zone.TOKEN] + sum(row.widest for row in blocks)
            return self._read_prompts(zones[Zone.PROMPT], counts, self._turns.chunk(counts, decoded))
        places = range(zones[turn[0]].start, zones[turn[-1]].stop)
        last = self._last
        unchanged = last is not None and last.turn == turn and last.changes == self._places.changes
        if last is not None and unchanged and self._goes_on(last, passes=1):
            return self._follow(replace(last, counts=counts))
        return self._fill(self._canvases(places) if self._over_canvas else places, turn, counts, chunk=rest)

    def _canvases(self, places: range) -> range:
        """The canvases among ``places`` that share the next forward: those beside the one that has waited longest
        whose passes are about as wide, and whose caches hold the padding of all of them."""
        rows = [row for row in self._places.rows(places) if isinstance(row, CanvasRow)]
        lead = min(range(len(rows)), key=lambda index: rows[index].waits_since)
        passes = [(row.cache_length, row.pending.width) for row in rows]
        chosen = alike_run(passes, lead, self.session.info.limits.capacity)
        for row in rows[chosen.start : chosen.stop]:
            row.waits_since = self.steps + 1
        return places[chosen.start : chosen.stop]

    def _read_prompts(self, places: range, counts: Mapping[Zone, int], most: int) -> Forward:
        """Start a forward of at most ``most`` prompt tokens.

        The request with the shortest rest of a prompt and the one that joined first have every other turn, so that
        neither a short prompt waits for a long one nor a long one for all short ones.
        """
        rows = self._places.rows(places)
        self._prompt_turns += 1
        if self._prompt_turns % 2:
            lead = min(range(len(rows)), key=lambda index: rows[index].prompt_left)
        else:
            lead = min(range(len(rows)), key=lambda index: rows[index].number)
        limit, left = self.session.info.limits.prompt_chunk, rows[lead].prompt_left
        chunk = min(limit, most)
        if chunk < left <= min(_LAST_CHUNK * chunk, limit) and self._turns.chunks_are_by_time:
            # A short rest would cost nearly as much as a chunk.
            chunk = most = left
        chosen = widest_run([min(row.prompt_left, chunk) for row in rows], lead, most)
        return self._fill(places[chosen.start : chosen.stop], PROMPTS, counts, chunk)

    def _fill(self, places: range, turn: Turn, counts: Mapping[Zone, int], chunk: int) -> Forward:
        """Start a forward whose passes the host fills in. It makes the caches long enough for them.

        A forward writes as many slots as its widest pass has tokens in every row, the padding of narrower rows
        included, so the caches must reach that far beyond every row's length. They need not reach further: attention
        may read every slot, and a request that may become long would cost as much as one that is. A chunk of a prompt
        is no longer than the slots that are left after the longest row.
        """
        session, limits = self.session, self.session.info.limits
        rows = self._places.rows(places)
        padded = places
        # Canvases come in so many widths that few forwards would share a captured one: empty rows would only cost.
        if Zone.PROMPT not in turn and places.start == 0 and not self._over_canvas:
            padded = range(min(session.row_count(len(places)), self.max_rows))
        idle = padded[len(places) :]
        longest = max(*(row.cache_length for row in rows), *(self._places.length(place) for place in idle), 0)
        widest = max(row.next_width(chunk) for row in rows)
        if turn == PROMPTS:
            widest = session.chunk_width(widest, min(limits.prompt_chunk, limits.capacity - longest))
        most = max(row.request.slots_kept for row in rows) + max(row.request.overhang for row in rows)
        # The engine may start the next forward before the host knows how far this one has come.
        ahead = session.runs_ahead and Zone.PROMPT not in turn
        self.slots.reserve(padded.stop, longest + (2 * widest if ahead else widest), most)
        chunk = max(1, min(chunk, session.capacity - longest))
        passes = [row.next_pass(chunk) for row in rows]
        filling = [idle_pass(self._places.length(place)) for place in idle]
        width = 1
        if turn == PROMPTS:
            room = min(limits.prompt_chunk, session.capacity - longest)
            width = session.chunk_width(max(len(part.tokens) for part in passes), room)
        buffers = fill(session, [*passes, *filling], first=padded.start, width=width)
        goes_on = all(row.goes_on for row in rows)
        return self._start(Forward(buffers, rows, turn, counts, self._places.changes, goes_on))

    def _follow(self, forward: Forward) -> Forward:
        """Start the forward that ``forward`` prepares for its rows."""
        return self._start(replace(forward, buffers=self.session.follow(forward.buffers)))

    def _start(self, forward: Forward) -> Forward:
        started = time.perf_counter()
        self.session.launch(forward.buffers)
        self.engine_seconds += time.perf_counter() - started
        self.steps += 1
        return replace(forward, started=started)

    def _goes_on(self, forward: Forward, passes: int) -> bool:
        """Whether the rows' next forward is the one that ``forward`` prepares.

        It is if no row has ended, none needs the host, no request can join, and attention is given enough slots.

        Args:
            passes: by which the rows go on until that forward ends, counted from what the host knows of them.
        """
        longest = max(row.cache_length for row in forward.rows)
        return (
            forward.goes_on
            and longest + passes * forward.buffers.width <= forward.buffers.attended
            and all(row.finish_reason is None for row in forward.rows)
            and not (self._waiting and len(self._places.live) < self.max_rows)
        )

    def _may_run_ahead(self, forward: Forward) -> bool:
        """Whether the forward after ``forward`` can be started before the host has read its results."""
        live = self._places.live
        waits = self.steering is not None and self.steering.waits(live)
        return self.session.runs_ahead and forward.rows == live and self._goes_on(forward, passes=2) and not waits

    def _steer(self) -> list[Emission]:
        """Have requests of mode auto that begin a round decode as was decided."""
        if self.steering is None:
            return []
        live = self._places.live
        if self.steering.waits(live):
            # The engine has prepared passes of another kind.
            self._last = None
        return self.steering.steer(live)

    def _finish(self, forward: Forward) -> list[Emission]:
        """Wait for a forward and give its rows their results."""
        waited = time.perf_counter()
        self.session.wait(forward.buffers)
        now = time.perf_counter()
        self.engine_seconds += now - waited
        # A forward that was started ahead has run since the one before it ended.
        seconds = now - max(forward.started, self._read)
        # What the host has done between two forwards, unless it had nothing to do.
        waited_for = max(0.0, forward.started - self._read)
        self._read = now
        buffers = forward.buffers
        self._turns.ran(forward.turn, forward.counts, buffers.rows * buffers.width, seconds)
        self._last = forward
        if self.steering is not None and Zone.PROMPT not in forward.turn and waited_for < _HOST_SECONDS:
            self.steering.timed(buffers.rows, buffers.width, seconds + waited_for)
        passes = [row.pending for row in forward.rows]
        emissions = []
        for row, outcome in zip(forward.rows, outcomes(forward.buffers, passes), strict=True):
            if row.finish_reason is None:
                emissions.append(row.advance(outcome))
            else:
                # The row ended while the engine went on. This pass does not count, but it has written to the cache.
                row.spoiled |= not outcome.finite
        if self.steering is not None:
            self.steering.learn(forward.rows, self._places.live)
        return emissions

    def _retire(self) -> None:
        """Take the rows of ended requests away."""
        for row in self._places.live:
            if row.finish_reason is not None:
                self._places.leave(row)
                if self.steering is not None:
                    self.steering.forget(row)

    def _admit(self) -> None:
        while self._waiting and len(self._places.live) < self.max_rows:
            self._places.join(self._waiting.popleft())

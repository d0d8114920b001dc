# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""One batch for many callers: whoever waits for an answer runs the forwards, and all answers come on with them.

There is no thread of its own. A forward belongs to whichever caller is waiting; the others wait for what it brings.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from nld_trt.decode.batch import Batch
from nld_trt.decode.request import Request, ResolvedRequest
from nld_trt.decode.result import Result
from nld_trt.decode.row import Emission, Row
from nld_trt.errors import OperationError


class Ticket:
    """A request in a :class:`SharedBatch`, and what has come of it until now.

    Attributes:
        pieces: text that nobody has taken yet.
        result: None until the request has ended.
        failure: why it will never have one: a forward was interrupted, or failed for all.
        dropped: nobody waits for it any more. Any thread may set this, at any time, even a finaliser.
    """

    def __init__(self, request: ResolvedRequest) -> None:
        self.request = request
        self.pieces: deque[str] = deque()
        self.tokens: list[int] = []
        self.result: Result | None = None
        self.failure: OperationError | None = None
        self.dropped = False
        self._submitted = time.perf_counter()
        self._first: float | None = None

    @property
    def ready(self) -> bool:
        """Whether there is something for whoever waits: a piece or the end."""
        return bool(self.pieces) or self.ended

    @property
    def ended(self) -> bool:
        return self.result is not None or self.failure is not None

    def take(self, emission: Emission) -> None:
        """Add what a forward has brought for this request."""
        now = time.perf_counter()
        if emission.tokens:
            self._first = now if self._first is None else self._first
            self.tokens.extend(emission.tokens)
        if emission.text:
            self.pieces.append(emission.text)
        if emission.finish_reason is not None:
            self.result = replace(
                Result.of(emission.row),
                seconds=now - self._submitted,
                time_to_first_token=None if self._first is None else self._first - self._submitted,
            )


class SharedBatch:
    """Thread-safe: requests of all threads share the batch. The batch must be used through this alone."""

    def __init__(self, batch: Batch) -> None:
        self._batch: Batch | None = batch
        # Guards what is above and the two below. Inside a batch, and of the tickets by row, nobody but the thread
        # that has set _stepping reads or writes anything.
        self._turn = threading.Condition()
        self._inbox: deque[Ticket] = deque()
        self._stepping = False
        self._tickets: dict[Row, Ticket] = {}

    def submit(self, requests: Sequence[Request | ResolvedRequest]) -> list[Ticket]:
        """Queue requests; they join the batch with the next forward that has room.

        Raises:
            InputError: one does not fit the engine. None is queued then.
            OperationError: the batch was closed.
        """
        with self._turn:
            batch = self._batch
            if batch is None:
                raise _closed()
        tickets = [Ticket(batch.resolved(request)) for request in requests]
        with self._turn:
            self._inbox.extend(tickets)
        return tickets

    def advance(self, ticket: Ticket) -> None:
        """Return once ``ticket`` has a piece or has ended; runs forwards for that unless another thread does.

        Raises:
            OperationError: the engine failed. Every request in the batch ends there.
        """
        while True:
            with self._turn:
                while self._stepping and not ticket.ready:
                    self._turn.wait()
                if ticket.ready:
                    return
                batch = self._batch
                if batch is None:
                    ticket.failure = _closed()
                    return
                self._stepping = True
            try:
                self._step(batch)
            finally:
                self._release()

    def finish(self, ticket: Ticket) -> Result:
        """Decode ``ticket`` to its end.

        Raises:
            OperationError: the engine failed, or a forward of it was interrupted.
        """
        while not ticket.ended:
            ticket.pieces.clear()
            self.advance(ticket)
        if ticket.failure is not None:
            raise ticket.failure
        assert ticket.result is not None
        return ticket.result

    def cancel(self, ticket: Ticket) -> None:
        """End ``ticket`` now, with what it has."""
        with self._turn:
            ticket.dropped = True
            # Whoever is in a forward ends it with the next one, or stops.
            while self._stepping and not ticket.ended:
                self._turn.wait()
            batch = self._batch
            if ticket.ended or batch is None:
                return
            self._stepping = True
        try:
            self._take_in(batch)
            self._drop(batch)
        finally:
            self._release()

    def close(self) -> None:
        """End every request and let go of the batch, once a forward that is under way has ended."""
        with self._turn:
            self._batch = None
            while self._stepping:
                self._turn.wait()
            for ticket in (*self._inbox, *self._tickets.values()):
                ticket.failure = _closed()
            self._inbox.clear()
            self._tickets.clear()

    def _release(self) -> None:
        with self._turn:
            self._stepping = False
            self._turn.notify_all()

    def _step(self, batch: Batch) -> None:
        try:
            self._take_in(batch)
            self._drop(batch)
            for emission in batch.step():
                self._deliver(emission)
        except BaseException as error:
            # Whatever state the batch is in, an interrupted caller will call again.
            self._start_anew(batch, error)
            raise

    def _take_in(self, batch: Batch) -> None:
        while self._inbox:
            # Taken away last, so that an interruption loses none.
            if not self._inbox[0].ended:
                self._tickets[batch.submit(self._inbox[0].request)] = self._inbox[0]
            self._inbox.popleft()

    def _drop(self, batch: Batch) -> None:
        """End the requests that nobody waits for; the batch lets their rows go before its next forward."""
        for row, ticket in list(self._tickets.items()):
            if ticket.dropped:
                batch.cancel(row)
                self._deliver(row.cancel())

    def _deliver(self, emission: Emission) -> None:
        # A cancelled request has left already when the batch tells of its end.
        ticket = self._tickets.get(emission.row)
        if ticket is None:
            return
        if emission.finish_reason is not None:
            del self._tickets[emission.row]
        ticket.take(emission)

    def _start_anew(self, batch: Batch, error: BaseException) -> None:
        """End every request in the batch, and make the batch usable again."""
        why = f"failed: {error}" if isinstance(error, Exception) else "was interrupted"
        for ticket in self._tickets.values():
            ticket.failure = OperationError(f"a forward that this request shared with others {why}")
        self._tickets.clear()
        # A device that is lost fails here again. What it failed with first is told; a later request finds it so.
        with suppress(OperationError):
            batch.reset()


def _closed() -> OperationError:
    return OperationError("the engine was closed before this request had ended")

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The scheduler: one thread that decodes the requests of many clients.

Only the loop thread uses the batch and its session. Other threads put jobs in an inbox and mark jobs as cancelled;
the loop reads both between two forwards, so a request joins a batch that is being decoded.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from nld_trt.decode.batch import Batch
from nld_trt.decode.figures import Timing
from nld_trt.decode.request import Request, ResolvedRequest
from nld_trt.decode.row import Emission, Row
from nld_trt.errors import NldError, OperationError
from nld_trt.names import DEFAULT_MAX_WAITING, ModeName
from nld_trt.serving.deadlines import Deadline, Pace
from nld_trt.serving.errors import WAITING, QueueFull, Unavailable
from nld_trt.serving.pulse import Pulse
from nld_trt.serving.watch import Watch

log = logging.getLogger(__name__)


class Listener(Protocol):
    """Receives the outcome of one request. An exception in it cancels only that request."""

    def emitted(self, emission: Emission) -> None:
        """A forward has ended, which may have added tokens or text. The last emission has a finish reason.

        It is called on the loop thread.
        """

    def failed(self, error: NldError) -> None:
        """The request has ended without a result. This is the last call, on the loop thread."""

    def abandoned(self) -> bool:
        """Whether the client has disconnected. A ``Watch`` calls it now and then; true cancels the request."""


class Observer(Protocol):
    """Observes the loop, for metrics. It is called on the loop thread."""

    def ended(self, job: Job, row: Row) -> None:
        """Count a request that has ended; its times are complete. This is called before its client gets the end."""

    def stepped(self, emissions: Sequence[Emission], live: int, waiting: int, cached: int) -> None:
        """Count a forward, of which every result is delivered. ``cached`` tokens of live rows are in the KV cache."""

    def switched(self, from_mode: ModeName, to_mode: ModeName, reason: str) -> None:
        """Count a change of the mode, or of the block length within it, that requests of mode auto are decoded in."""


class Job:
    """A submitted request. :meth:`cancel` may be called from any thread at any time."""

    def __init__(self, request: ResolvedRequest, listener: Listener, deadline: Deadline | None = None) -> None:
        self.request = request
        self.listener = listener
        self.deadline = deadline
        # When the step of its first forward began; None while it waits.
        self.started: float | None = None
        self.timing = Timing(time.monotonic())
        self.cancelled = False
        self.mute = False

    def abandoned(self) -> bool:
        return self.listener.abandoned()

    def cancel(self) -> None:
        self.cancelled = True


class Scheduler:
    """Owns a batch and the thread that drives it."""

    def __init__(
        self, batch: Batch, *, max_waiting: int = DEFAULT_MAX_WAITING, observer: Observer | None = None
    ) -> None:
        self.pulse = Pulse()
        self._batch = batch
        self._info = batch.session.info
        self._observer = observer
        self._max_pending = batch.max_rows + max_waiting
        self._max_waiting = max_waiting
        self._wake = threading.Condition()
        # The following fields are guarded by _wake.
        self._inbox: deque[Job] = deque()
        self._pending = 0
        self._pace = Pace()
        self._closing = False
        self._failure: OperationError | None = None
        # The following fields are used by the loop thread only.
        self._jobs: dict[Row, Job] = {}
        self._step_began = 0.0
        self._deadline = float("inf")
        self._watch = Watch()
        self._thread = threading.Thread(target=self._run, name="nld-decode", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """The number of requests that have not ended."""
        with self._wake:
            return self._pending

    @property
    def failure(self) -> OperationError | None:
        """The error that ended the decode loop; None while the loop is running."""
        with self._wake:
            return self._failure

    def submit(self, request: Request | ResolvedRequest, listener: Listener, *, timeout: float | None = None) -> Job:
        """Queue a request. ``listener`` receives its outcome, on the loop thread.

        Args:
            timeout: seconds within which the request must end. After that it fails, even if it is still waiting.

        Raises:
            InputError: the request does not fit the engine.
            QueueFull: too many requests wait.
            Unavailable: the queue is so long that the request would not start within ``timeout``.
            Unavailable: the scheduler is closing.
            OperationError: the decode loop has failed.
        """
        deadline = None if timeout is None else Deadline(timeout)
        job = Job(self._batch.resolved(request), listener, deadline)
        with self._wake:
            if self._failure is not None:
                raise OperationError(self._failure.what, details=self._failure.details, fix=self._failure.fix)
            if self._closing:
                raise Unavailable("the server is shutting down and accepts no new requests")
            if self._pending >= self._max_pending:
                raise QueueFull(
                    f"{self._max_waiting} {WAITING}; no more are accepted until one has ended",
                    fix="Send it again later, or raise max_waiting in model.json.",
                )
            if deadline is not None:
                self._refuse_hopeless(deadline)
            self._pending += 1
            self._inbox.append(job)
            self._wake.notify()
        return job

    def _refuse_hopeless(self, deadline: Deadline) -> None:
        ahead = self._pending - self._batch.max_rows
        if ahead < 0:
            return
        wait = self._pace.wait(ahead, self._batch.max_rows)
        if wait >= deadline.seconds:
            raise deadline.refusal(ahead, wait)

    def close(self, grace: float = 30.0) -> None:
        """Accept no more requests, wait ``grace`` seconds for the current ones, cancel the rest and stop the thread."""
        with self._wake:
            self._closing = True
            self._deadline = time.monotonic() + grace
            self._wake.notify()
        self._thread.join()
        self._watch.close()

    # The methods below run on the loop thread.

    def _run(self) -> None:
        try:
            while self._take_jobs():
                self._cancel_ended()
                self._step_began = time.monotonic()
                emissions = self._batch.step()
                for emission in emissions:
                    self._deliver(emission)
                if self._observer is not None:
                    for switch in self._batch.take_switches():
                        self._observer.switched(switch.before.mode, switch.after.mode, switch.cause)
                    live = self._batch.live_rows
                    cached = sum(row.cache_length for row in self._jobs)
                    self._observer.stepped(emissions, live, len(self._jobs) - live, cached)
        except Exception as error:
            self._fail(error)

    def _take_jobs(self) -> bool:
        """Move new jobs to the batch, and wait while there are none. Returns False when the thread should stop."""
        with self._wake:
            while not self._inbox and not self._batch.busy:
                if self._closing:
                    return False
                self.pulse.rest()
                self._wake.wait()
            self.pulse.beat()
            fresh = list(self._inbox)
            self._inbox.clear()
        for job in fresh:
            try:
                self._jobs[self._batch.submit(job.request)] = job
                self._watch.add(job)
            except Exception as error:
                self._end()
                self._tell_failure(job, error if isinstance(error, NldError) else _internal(error))
        return True

    def _cancel_ended(self) -> None:
        """Take jobs out of the batch that are cancelled, or whose time is over."""
        now = time.monotonic()
        if now > self._deadline:
            for job in self._jobs.values():
                job.cancel()
        self._end_overdue(now)
        for row in [row for row, job in self._jobs.items() if job.cancelled]:
            self._batch.cancel(row)

    def _end_overdue(self, now: float) -> None:
        for row, job in self._jobs.items():
            if job.deadline is not None and not job.mute and job.deadline.passed(now):
                self._tell_failure(job, job.deadline.failure(len(row.emitted)))
                job.mute = True
                job.cancel()

    def _deliver(self, emission: Emission) -> None:
        job = self._jobs[emission.row]
        now = time.monotonic()
        job.started = job.started or self._step_began
        job.timing.add(len(emission.tokens), now)
        if emission.finish_reason is not None:
            del self._jobs[emission.row]
            self._watch.remove(job)
            self._end(None if job.cancelled else now - job.started)
            if self._observer is not None:
                self._observer.ended(job, emission.row)
        try:
            if not job.mute:
                job.listener.emitted(emission)
        except Exception:
            log.exception("a response could not be sent; its request is cancelled")
            job.mute = True
            job.cancel()

    def _end(self, seconds: float | None = None) -> None:
        """Count a request as ended. ``seconds`` is its duration if it was not cancelled."""
        with self._wake:
            self._pending -= 1
            if seconds is not None:
                self._pace.add(seconds)

    def _fail(self, error: Exception) -> None:
        """End the loop after an unexpected error: all current and later requests fail."""
        log.critical("the decode loop failed; every request is refused until the model is loaded again", exc_info=error)
        failure = _internal(error)
        with self._wake:
            self._failure = failure
            jobs = [*self._jobs.values(), *self._inbox]
            self._inbox.clear()
            self._pending = 0
        for job in jobs:
            self._watch.remove(job)
        self._jobs.clear()
        if self._observer is not None:
            self._observer.stepped((), 0, 0, 0)
        for job in jobs:
            if not job.mute:
                self._tell_failure(job, failure)

    @staticmethod
    def _tell_failure(job: Job, error: NldError) -> None:
        try:
            job.listener.failed(error)
        except Exception:
            log.exception("an error could not be sent to its client")


def _internal(error: Exception) -> OperationError:
    what, details = (error.what, error.details) if isinstance(error, NldError) else (_described(error), ())
    return OperationError(
        f"the decode loop failed: {what}",
        details=details,
        fix="See the server's log, then unload and load the model.",
    )


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"

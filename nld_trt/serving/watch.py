# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The thread that asks whether clients are still connected, so that the decode loop does not wait for the answers.

Asking is a call to another process, which takes 0.1 to 0.2 ms for each client: on the decode loop's thread it would
cost several per cent of the tokens of sixteen clients.
"""

from __future__ import annotations

import itertools
import logging
import threading
from typing import Protocol

log = logging.getLogger(__name__)

_INTERVAL_SECONDS = 0.05
# Jobs that are asked about in one interval. With more of them, each is asked about less often.
_JOBS_AT_ONCE = 32


class Watched(Protocol):
    """A job whose client can disconnect."""

    cancelled: bool

    def abandoned(self) -> bool:
        """Whether the client has disconnected. It is called on the watch's thread."""

    def cancel(self) -> None:
        """End the job, since nobody waits for it. It is called on the watch's thread."""


class Watch:
    """Cancels the jobs of clients that have disconnected."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        # The fields below are guarded by _wake.
        self._jobs: dict[Watched, None] = {}
        self._closing = False
        self._asked = 0
        self._thread = threading.Thread(target=self._run, name="nld-watch", daemon=True)
        self._thread.start()

    def add(self, job: Watched) -> None:
        """Ask about this job from now on."""
        with self._wake:
            self._jobs[job] = None
            self._wake.notify()

    def remove(self, job: Watched) -> None:
        """Ask no more about this job. It may be unknown."""
        with self._wake:
            self._jobs.pop(job, None)

    def close(self) -> None:
        """Stop the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while turn := self._next_turn():
            for job in turn:
                _ask(job)
            with self._wake:
                self._wake.wait_for(lambda: self._closing, _INTERVAL_SECONDS)

    def _next_turn(self) -> list[Watched]:
        """Wait for jobs, and return those whose turn it is. Empty if the thread should stop."""
        with self._wake:
            while not (self._closing or any(not job.cancelled for job in self._jobs)):
                # A job that is cancelled is removed when the decode loop has ended it.
                self._wake.wait()
            if self._closing:
                return []
            jobs = [job for job in self._jobs if not job.cancelled]
            start = self._asked % len(jobs)
            turn = list(itertools.islice(itertools.cycle(jobs), start, start + min(len(jobs), _JOBS_AT_ONCE)))
            self._asked = start + len(turn)
            return turn


def _ask(job: Watched) -> None:
    try:
        if job.abandoned():
            job.cancel()
    except Exception:
        log.exception("a client cannot be asked whether it is there; its request is cancelled")
        job.cancel()

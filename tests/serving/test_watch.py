# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The thread that asks whether clients are still connected."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from nld_trt.serving import watch as watch_module
from nld_trt.serving.watch import Watch

SECONDS = 30.0


class Job:
    """A job that counts how often it was asked about."""

    def __init__(self, *, gone: bool = False, breaks: bool = False) -> None:
        self.gone, self.breaks = gone, breaks
        self.cancelled = False
        self.asked = threading.Semaphore(0)
        self.ended = threading.Event()

    def abandoned(self) -> bool:
        self.asked.release()
        if self.breaks:
            raise RuntimeError("the connection does not answer")
        return self.gone

    def cancel(self) -> None:
        self.cancelled = True
        self.ended.set()


@pytest.fixture
def watch(monkeypatch) -> Iterator[Watch]:
    monkeypatch.setattr(watch_module, "_INTERVAL_SECONDS", 0.001)
    made = Watch()
    yield made
    made.close()


def test_job_of_a_client_that_has_gone_is_cancelled(watch) -> None:
    there, gone = Job(), Job(gone=True)
    watch.add(there)
    watch.add(gone)
    assert gone.ended.wait(SECONDS)
    assert not there.cancelled


def test_client_may_go_at_any_time(watch) -> None:
    job = Job()
    watch.add(job)
    assert job.asked.acquire(timeout=SECONDS)
    job.gone = True
    assert job.ended.wait(SECONDS)


def test_client_that_cannot_be_asked_counts_as_gone_and_harms_nobody_else(watch) -> None:
    bad, good = Job(breaks=True), Job()
    watch.add(bad)
    watch.add(good)
    assert bad.ended.wait(SECONDS)
    for _ in range(3):
        assert good.asked.acquire(timeout=SECONDS)


def test_every_job_is_asked_about_in_turn(watch, monkeypatch) -> None:
    monkeypatch.setattr(watch_module, "_JOBS_AT_ONCE", 2)
    jobs = [Job() for _ in range(7)]
    for job in jobs:
        watch.add(job)
    for job in jobs:
        assert job.asked.acquire(timeout=SECONDS)


def test_nothing_is_asked_about_a_job_that_was_removed(watch) -> None:
    removed, other = Job(), Job()
    watch.add(removed)
    watch.remove(removed)
    while removed.asked.acquire(blocking=False):
        pass
    watch.add(other)
    # A turn that had begun may still hold the removed job; the one after it does not.
    for _ in range(3):
        assert other.asked.acquire(timeout=SECONDS)
    while removed.asked.acquire(blocking=False):
        pass
    for _ in range(3):
        assert other.asked.acquire(timeout=SECONDS)
    assert not removed.asked.acquire(blocking=False)


def test_watch_closes_while_there_are_jobs() -> None:
    made = Watch()
    made.add(Job())
    made.close()
    assert not made._thread.is_alive()

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Times of work on a GPU: graphs of repeated calls, between events, with the host ahead."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from nld_trt.machine.device import Device

# Calls in a graph. Of short ones there are more: the ends of a graph count once.
REPEATS, REPEATS_OF_SHORT = 20, 200
SHORT_MICROSECONDS = 20.0
SAMPLES = 15

# Gets a running number, and queues something.
Work = Callable[[int], object]
# Records what a function queues; the result runs it, behind work that is queued already, and gives its milliseconds.
Record = Callable[[Callable[[], object]], Callable[[], float]]


@dataclass(frozen=True)
class Times:
    """Microseconds of one call."""

    median: float
    least: float


class Recorded:
    """Work that was captured into a graph, to be queued as one."""

    def __init__(self, device: Device, work: Callable[[], object]) -> None:
        self._device, self._graph = device, device.capture(work)
        self._begin, self._end = device.event(timed=True), device.event(timed=True)

    def queue(self) -> None:
        self._device.launch_graph(self._graph)

    def milliseconds(self) -> float:
        """Of one run, behind another one: an idle stream would reach the first event while the host still launches."""
        self.queue()
        self._device.record(self._begin)
        self.queue()
        self._device.record(self._end)
        return self._device.milliseconds_between(self._begin, self._end)


def time(device: Device, work: Work, *, copies: int = 1) -> Times:
    # Loading and first use happen outside the graph.
    work(0)
    device.synchronize()
    return time_recorded(lambda calls: Recorded(device, calls).milliseconds, work, copies=copies)


def time_recorded(record: Record, work: Work, *, copies: int = 1) -> Times:
    """Of one call of ``work``.

    Args:
        copies: ``work`` goes round so many inputs; a graph goes round them a whole number of times, so that none comes
            back early where one graph follows another.
    """
    run, calls = _recorded(record, work, REPEATS, copies)
    if run() * 1000 / calls < SHORT_MICROSECONDS:
        run, calls = _recorded(record, work, REPEATS_OF_SHORT, copies)
        run()
    times = [run() * 1000 / calls for _ in range(SAMPLES)]
    return Times(round(statistics.median(times), 2), round(min(times), 2))


def copies_beyond(cache_bytes: int, size: int) -> int:
    """How many inputs of ``size`` bytes to go round, so that as much as the cache holds is read before one comes again.

    >>> copies_beyond(cache_bytes=200, size=268), copies_beyond(cache_bytes=200, size=8)
    (2, 26)
    """
    return 1 + -(-cache_bytes // size)


def _recorded(record: Record, work: Work, repeats: int, copies: int) -> tuple[Callable[[], float], int]:
    calls = -(-repeats // copies) * copies

    def all_of_them() -> None:
        for index in range(calls):
            work(index)

    return record(all_of_them), calls

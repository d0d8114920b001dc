# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Timing work on a GPU: repeated calls are captured into a graph, which is queued ahead between two events."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from nld_trt.machine.device import Device

# Calls in a graph. A graph of short calls holds more: its start and end cost the same and are spread over them.
REPEATS, REPEATS_OF_SHORT = 20, 200
SHORT_MICROSECONDS = 20.0
SAMPLES = 15

# Queues one call; it gets the number of the call.
Work = Callable[[int], object]
# Captures what a function queues. The result runs it after work that is queued already, and returns milliseconds.
Record = Callable[[Callable[[], object]], Callable[[], float]]


@dataclass(frozen=True)
class Times:
    """The time of one call, in microseconds."""

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
        """The time of one run. Another run precedes it: an idle stream would reach the first event too early."""
        self.queue()
        self._device.record(self._begin)
        self.queue()
        self._device.record(self._end)
        return self._device.milliseconds_between(self._begin, self._end)


def time(device: Device, work: Work, *, copies: int = 1) -> Times:
    # The first call loads the kernels, which cannot happen while a graph is captured.
    work(0)
    device.synchronize()
    return time_recorded(lambda calls: Recorded(device, calls).milliseconds, work, copies=copies)


def time_recorded(record: Record, work: Work, *, copies: int = 1) -> Times:
    """The time of one call of ``work``.

    Args:
        copies: how many inputs ``work`` cycles through. A graph holds whole cycles, so that no input is read again too
            soon where one graph follows another.
    """
    run, calls = _recorded(record, work, REPEATS, copies)
    if run() * 1000 / calls < SHORT_MICROSECONDS:
        run, calls = _recorded(record, work, REPEATS_OF_SHORT, copies)
        run()
    times = [run() * 1000 / calls for _ in range(SAMPLES)]
    return Times(round(statistics.median(times), 2), round(min(times), 2))


def copies_beyond(cache_bytes: int, size: int) -> int:
    """How many inputs of ``size`` bytes fill the cache between two reads of the same one.

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

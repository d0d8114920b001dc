# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The measurement of one point: a closed loop that keeps a fixed number of requests in flight, or arrivals at a rate.

The timed region is prefill, decoding and detokenization of every request; loading the engine, encoding prompts and the
warm-up are outside. A request that arrives while as many are in flight as may be waits, and its times begin when it
arrives. ITL is (latency - TTFT) / (tokens - tokens of the first chunk), as common client tools define it: a
block delivers many tokens at once, so the time between chunks would be no time between tokens.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nld_trt.decode.batch import Batch
from nld_trt.decode.figures import Counts, Timing
from nld_trt.decode.request import Request
from nld_trt.decode.result import Result
from nld_trt.decode.row import Row
from nld_trt.machine.gpu import energy_joules


@dataclass(frozen=True)
class Run:
    """The times and results of one repeat of a point.

    Attributes:
        joules: energy of the GPU, where its driver counts it.
    """

    seconds: float
    engine_seconds: float
    timings: Sequence[Timing]
    results: Sequence[Result]
    joules: float | None = None

    @property
    def counts(self) -> Counts:
        """Counts of all requests, with the times of the whole repeat."""
        counts = Counts.total(result.counts for result in self.results)
        return replace(counts, seconds=self.seconds, engine_seconds=self.engine_seconds)


def run_closed_loop(batch: Batch, requests: Sequence[Request], concurrency: int) -> Run:
    """Decode ``requests``, never more than ``concurrency`` at once; the next one takes the place of a finished one.

    Raises:
        OperationError: a request ended by an error.
    """
    return _run(batch, requests, concurrency, None)


def run_open_loop(batch: Batch, requests: Sequence[Request], most: int, arrivals: Sequence[float]) -> Run:
    """Decode ``requests``, each from its arrival on, never more than ``most`` at once.

    Args:
        arrivals: seconds after the beginning, ascending, one for each request.

    Raises:
        OperationError: a request ended by an error.
    """
    assert len(arrivals) == len(requests)
    return _run(batch, requests, most, arrivals)


def poisson_arrivals(rate: float, count: int, seed: int = 0) -> list[float]:
    """Return ``count`` times in seconds at which requests arrive independently of each other, ``rate`` per second."""
    draws, now = random.Random(seed), 0.0
    return [now := now + draws.expovariate(rate) for _ in range(count)]


def _run(batch: Batch, requests: Sequence[Request], most: int, arrivals: Sequence[float] | None) -> Run:
    waiting = list(reversed(requests))
    to_come = None if arrivals is None else list(reversed(arrivals))
    live: dict[Row, Timing] = {}
    timings: list[Timing] = []
    results: list[Result] = []
    joules_before = _joules(batch)
    engine_before = batch.engine_seconds
    started = time.perf_counter()
    while waiting or live:
        while waiting and len(live) < most:
            now = time.perf_counter()
            arrived = now if to_come is None else started + to_come[-1]
            if arrived > now:
                if live:
                    break
                time.sleep(arrived - now)
            timing = Timing(arrived)
            live[batch.submit(waiting.pop())] = timing
            timings.append(timing)
            if to_come is not None:
                to_come.pop()
        emissions = batch.step()
        now = time.perf_counter()
        for emission in emissions:
            timing = live[emission.row]
            timing.add(len(emission.tokens), now)
            if emission.finish_reason is not None:
                del live[emission.row]
                results.append(Result.of(emission.row).or_raise())
    seconds, engine_seconds = time.perf_counter() - started, batch.engine_seconds - engine_before
    joules = _joules(batch)
    used = None if joules is None or joules_before is None else joules - joules_before
    return Run(seconds, engine_seconds, timings, results, used)


def _joules(batch: Batch) -> float | None:
    """What the GPU's counter of energy shows; None on a CPU."""
    return energy_joules() if batch.session.device == "gpu" else None


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """Return avg, p50, p90 and p99, by linear interpolation; all are None without values."""
    if not values:
        return dict.fromkeys(("avg", "p50", "p90", "p99"))
    ordered = sorted(values)

    def at(fraction: float) -> float:
        place = fraction * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (place - low)

    return {"avg": statistics.fmean(ordered), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99)}

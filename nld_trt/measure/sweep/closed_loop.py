# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The measurement of one point: a closed loop that keeps a fixed number of requests in flight.

The timed region is prefill, decoding and detokenization of every request; loading the engine, encoding prompts and the
warm-up are outside. ITL is (latency - TTFT) / (tokens - tokens of the first chunk), as common client tools define it: a
block delivers many tokens at once, so the time between chunks would be no time between tokens.
"""

from __future__ import annotations

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
    waiting = list(reversed(requests))
    live: dict[Row, Timing] = {}
    timings: list[Timing] = []
    results: list[Result] = []
    joules_before = _joules(batch)
    engine_before = batch.engine_seconds
    started = time.perf_counter()
    while waiting or live:
        while waiting and len(live) < concurrency:
            timing = Timing(time.perf_counter())
            live[batch.submit(waiting.pop())] = timing
            timings.append(timing)
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

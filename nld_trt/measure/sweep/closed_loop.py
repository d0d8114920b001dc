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
from dataclasses import dataclass, field

from nld_trt.decode.batch import Decoder
from nld_trt.decode.request import Request
from nld_trt.decode.result import Result
from nld_trt.decode.row import Row


@dataclass
class Timing:
    """Clock readings of one request, in seconds."""

    submitted: float
    first_chunk: float = 0.0
    first_tokens: int = 0
    last_chunk: float = 0.0
    result: Result | None = None

    @property
    def ttft(self) -> float:
        return self.first_chunk - self.submitted

    @property
    def latency(self) -> float:
        return self.last_chunk - self.submitted

    @property
    def itl(self) -> float | None:
        """Seconds per token after the first chunk; None when one chunk held everything."""
        assert self.result is not None
        later = len(self.result.output_ids) - self.first_tokens
        return (self.last_chunk - self.first_chunk) / later if later > 0 else None


@dataclass
class Run:
    """The times and results of one repeat of a point."""

    seconds: float
    engine_seconds: float
    timings: list[Timing] = field(default_factory=list)

    @property
    def results(self) -> list[Result]:
        return [timing.result for timing in self.timings if timing.result is not None]

    @property
    def tokens(self) -> int:
        return sum(len(result.output_ids) for result in self.results)


def run_closed_loop(decoder: Decoder, requests: Sequence[Request], concurrency: int) -> Run:
    """Decode ``requests``, never more than ``concurrency`` at once; a finished one makes room for the next.

    Raises:
        OperationError: a request ended by an error.
    """
    waiting = list(reversed(requests))
    live: dict[Row, Timing] = {}
    timings: list[Timing] = []
    engine_before = decoder.engine_seconds
    started = time.perf_counter()
    while waiting or live:
        while waiting and len(live) < concurrency:
            timing = Timing(time.perf_counter())
            live[decoder.submit(waiting.pop())] = timing
            timings.append(timing)
        emissions = decoder.step()
        now = time.perf_counter()
        for emission in emissions:
            timing = live[emission.row]
            if emission.tokens:
                if not timing.first_tokens:
                    timing.first_chunk, timing.first_tokens = now, len(emission.tokens)
                timing.last_chunk = now
            if emission.finish_reason is not None:
                del live[emission.row]
                timing.result = Result.of(emission.row).or_raise()
    return Run(time.perf_counter() - started, decoder.engine_seconds - engine_before, timings)


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """Return avg, p50, p90 and p99, by linear interpolation; all are None without values."""
    if not values:
        return dict.fromkeys(("avg", "p50", "p90", "p99"))
    ordered = sorted(values)

    def at(share: float) -> float:
        place = share * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (place - low)

    return {"avg": statistics.fmean(ordered), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99)}

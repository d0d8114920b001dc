# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The decode loop's metrics, which Prometheus scrapes from Triton's metrics port."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from nld_trt.decode.figures import ACCEPTANCE_LENGTH, Counts
from nld_trt.decode.row import Emission, Row
from nld_trt.errors import InputError, NldError
from nld_trt.names import ModeName
from nld_trt.serving.errors import QueueFull, Unavailable
from nld_trt.serving.scheduler import Job

# Why a request is refused, by the kind of its error; the first match is used.
REASONS: tuple[tuple[type[NldError], str], ...] = (
    (InputError, "invalid"),
    (QueueFull, "queue_full"),
    (Unavailable, "unavailable"),
    (NldError, "failed"),
)

log = logging.getLogger(__name__)

Kind = Literal["counter", "gauge", "histogram"]

# Upper bounds of histograms: of times in seconds, and of an acceptance length in tokens.
WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
GAPS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
LENGTHS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0, 24.0, 32.0)


@dataclass(frozen=True)
class Family:
    """One metric, by name. Every series of the decode loop also has the label ``model``.

    Attributes:
        buckets: upper bounds of a histogram, in ascending order and without infinity.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


REQUESTS = Family("nld_requests_total", "counter", "Requests that ended", ("mode", "finish_reason"))
REFUSED = Family("nld_refused_requests_total", "counter", "Requests that were refused", ("reason",))
TOKENS = Family("nld_tokens_total", "counter", "Generated tokens", ("mode",))
FORWARDS = Family("nld_forwards_total", "counter", "Forwards that ended requests took part in", ("mode", "kind"))
ROUNDS = Family("nld_rounds_total", "counter", "Draft and verify rounds of ended requests")
ACCEPTED = Family("nld_accepted_tokens_total", "counter", "Tokens that those rounds accepted, before any cut")
PROMPT_TOKENS = Family("nld_prompt_tokens_total", "counter", "Tokens of the prompts of ended requests that had started")
PREFIX_TOKENS = Family(
    "nld_prefix_cached_tokens_total",
    "counter",
    "Those of them that the cache still had, and that were not computed again",
)
SWITCHES = Family(
    "nld_mode_switches_total", "counter", "Changes of the mode of running requests", ("from", "to", "reason")
)
LIVE = Family("nld_live_rows", "gauge", "Requests being decoded")
WAITING = Family("nld_waiting_requests", "gauge", "Requests waiting for a free row")
CACHE_USED = Family("nld_kv_cache_used_tokens", "gauge", "Tokens of running requests in the KV cache")
CACHE_CAPACITY = Family(
    "nld_kv_cache_capacity_tokens", "gauge", "Tokens that the KV cache can hold: rows times the longest sequence"
)
CACHE_UTILIZATION = Family("nld_kv_cache_utilization", "gauge", "The one over the other, 0 to 1")
QUEUE = Family(
    "nld_request_queue_seconds", "histogram", "Time from a request to the step of its first forward", ("mode",), WAITS
)  # fmt: skip
TTFT = Family(
    "nld_time_to_first_token_seconds", "histogram", "Time from a request to its first tokens", ("mode",), WAITS
)
ITL = Family(
    "nld_inter_token_latency_seconds",
    "histogram",
    "Time per token after a request's first tokens, one value for each request",
    ("mode",),
    GAPS,
)
LONGEST_GAP = Family(
    "nld_longest_gap_seconds", "histogram", "Longest time without new tokens after a request's first", ("mode",), GAPS
)
LATENCY = Family(
    "nld_request_latency_seconds", "histogram", "Time from a request to its last tokens, if it ended by itself",
    ("mode",), WAITS,
)  # fmt: skip
ACCEPTANCE = Family(
    "nld_acceptance_length", "histogram", "Tokens per verified draft, one value for each request", ("mode",), LENGTHS
)

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        REQUESTS, REFUSED, TOKENS, FORWARDS, ROUNDS, ACCEPTED, PROMPT_TOKENS, PREFIX_TOKENS, SWITCHES, LIVE, WAITING,
        CACHE_USED, CACHE_CAPACITY, CACHE_UTILIZATION, QUEUE, TTFT, ITL, LONGEST_GAP, LATENCY, ACCEPTANCE,
    )
}  # fmt: skip


def markdown_table(families: Iterable[Family] = FAMILIES.values()) -> str:
    """Returns the table of the documentation."""
    lines = ["| name | kind | labels | meaning |", "|---|---|---|---|"]
    for family in families:
        labels = ", ".join(f"`{label}`" for label in family.labels) or "–"
        lines.append(f"| `{family.name}` | {family.kind} | {labels} | {family.help} |")
    return "\n".join(lines)


class Series(Protocol):
    """One family with values for its labels. Each kind of family has one of the calls."""

    def increment(self, value: float) -> None: ...
    def set(self, value: float) -> None: ...
    def observe(self, value: float) -> None: ...


SeriesMaker = Callable[[Family, Mapping[str, str]], Series]
# A family's name and values for its labels.
Key = tuple[str, ...]


@dataclass
class _News:
    """What has happened since the last writing."""

    counts: Counter[Key] = field(default_factory=Counter)
    levels: dict[Key, float] = field(default_factory=dict)
    observed: list[tuple[Key, float]] = field(default_factory=list)


class Metrics:
    """An observer of the scheduler that keeps the families up to date.

    A call into the server takes tens of microseconds, and an answer changes some twenty series. The decode thread
    therefore only adds to a few numbers, and a thread of its own writes them, at most every ``interval`` seconds.

    Args:
        make: creates a series; it is called once for each family and set of labels, on the writing thread.
        cache_tokens: tokens that the KV cache can hold.
    """

    def __init__(self, make: SeriesMaker, *, cache_tokens: int, interval: float = 0.1) -> None:
        self._make = make
        self._cache_tokens = cache_tokens
        self._interval = interval
        self._series: dict[Key, Series] = {}
        self._written: dict[Key, float] = {}
        self._lock = threading.Lock()
        self._news = _News(levels={(CACHE_CAPACITY.name,): cache_tokens})
        self._changed = threading.Event()
        # An autoscaler needs the gauges of a pod that has had no request.
        self.stepped((), live=0, waiting=0, cached=0)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nld-metrics", daemon=True)
        self._thread.start()

    def stepped(self, emissions: Sequence[Emission], live: int, waiting: int, cached: int) -> None:
        with self._lock:
            for emission in emissions:
                if emission.tokens:
                    self._news.counts[TOKENS.name, emission.row.mode.request.mode] += len(emission.tokens)
            levels = self._news.levels
            levels[(LIVE.name,)] = live
            levels[(WAITING.name,)] = waiting
            levels[(CACHE_USED.name,)] = cached
            levels[(CACHE_UTILIZATION.name,)] = cached / self._cache_tokens
        self._changed.set()

    def refused(self, error: NldError) -> None:
        """Count a request that was not accepted. It may be called from any thread."""
        with self._lock:
            self._news.counts[REFUSED.name, next(name for kind, name in REASONS if isinstance(error, kind))] += 1
        self._changed.set()

    def ended(self, job: Job, row: Row) -> None:
        mode, counters = row.request.mode, row.counters
        with self._lock:
            counts = self._news.counts
            counts[REQUESTS.name, mode, str(row.finish_reason)] += 1
            for kind, count in counters.forwards.items():
                counts[FORWARDS.name, mode, kind] += count
            counts[(ROUNDS.name,)] += len(counters.accepted)
            counts[(ACCEPTED.name,)] += sum(counters.accepted)
            if counters.forwards:
                counts[(PROMPT_TOKENS.name,)] += len(row.request.prompt_ids)
                counts[(PREFIX_TOKENS.name,)] += counters.cached_tokens
            self._news.observed += [((family.name, mode), value) for family, value in _times(job, row)]
        self._changed.set()

    def switched(self, from_mode: ModeName, to_mode: ModeName, reason: str) -> None:
        """Count a change of mode. It may be called from any thread."""
        with self._lock:
            self._news.counts[SWITCHES.name, from_mode, to_mode, reason] += 1
        self._changed.set()

    def close(self) -> None:
        """Write what is left and stop the thread."""
        self._closing.set()
        self._changed.set()
        self._thread.join()

    # The methods below run on the writing thread.

    def _run(self) -> None:
        while not self._closing.is_set():
            self._changed.wait()
            self._changed.clear()
            self._try_to_write()
            self._closing.wait(self._interval)
        self._try_to_write()

    def _try_to_write(self) -> None:
        try:
            self._write()
        except Exception:
            log.exception("metrics cannot be written; what was counted since the last time is lost")

    def _write(self) -> None:
        with self._lock:
            news, self._news = self._news, _News()
        for key, count in news.counts.items():
            if count:
                self._get(key).increment(count)
        for key, value in news.observed:
            self._get(key).observe(value)
        # Last, so that what no gauge shows as running any more is counted.
        for key, level in news.levels.items():
            if self._written.get(key) != level:
                self._written[key] = level
                self._get(key).set(level)

    def _get(self, key: Key) -> Series:
        if key not in self._series:
            name, *values = key
            self._series[key] = self._make(FAMILIES[name], dict(zip(FAMILIES[name].labels, values, strict=True)))
        return self._series[key]


def _times(job: Job, row: Row) -> Iterable[tuple[Family, float]]:
    """The histograms' values of one ended request, as far as it came."""
    timing = job.timing
    if row.counters.forwards and job.started is not None:
        yield QUEUE, job.started - timing.submitted
    if timing.tokens:
        yield TTFT, timing.ttft
    if timing.itl is not None:
        yield ITL, timing.itl
        yield LONGEST_GAP, timing.longest_gap
    if row.finish_reason in ("stop", "length"):
        yield LATENCY, timing.latency
        counters = row.counters
        counts = Counts.of_generation(
            len(row.emitted), row.nfe, counters.accepted, counters.denoise_passes, dropped=counters.dropped
        )
        length = ACCEPTANCE_LENGTH.formula(counts)
        if length is not None:
            yield ACCEPTANCE, length

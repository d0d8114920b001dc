# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The front's own metrics, as Prometheus reads them."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from nld_trt.serving.metrics import WAITS, Family
from nld_trt.serving.metrics import markdown_table as table_of
from nld_trt.serving.openai.usage import Tally

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_REQUESTS: Final = Family("nld_front_requests_total", "counter", "Requests that ended", ("path", "status"))
_PROMPTS: Final = Family("nld_front_prompt_tokens_total", "counter", "Tokens of their prompts")
_ANSWERS: Final = Family("nld_front_completion_tokens_total", "counter", "Tokens of their answers")
_OPEN: Final = Family("nld_front_open_requests", "gauge", "Requests being answered")
_FIRST: Final = Family(
    "nld_front_time_to_first_token_seconds",
    "histogram",
    "Time from a request with stream to the first event of its answer",
    buckets=WAITS,
)
_WHOLE: Final = Family(
    "nld_front_request_seconds",
    "histogram",
    "Time from a request to the end of its answer, of those that were answered to the end",
    buckets=WAITS,
)
FAMILIES: Final = {each.name: each for each in (_REQUESTS, _PROMPTS, _ANSWERS, _OPEN, _FIRST, _WHOLE)}
_OK: Final = 200
# In the place of a status, for a client that closed the connection.
LEFT: Final = "disconnected"


@dataclass
class Watch:
    """One request while it is answered.

    Attributes:
        status: of its response.
        tally: what it took; None until it is asked.
        first: time of the first text of a stream on the clock of ``time.monotonic``.
    """

    status: int | str = _OK
    tally: Tally | None = None
    first: float | None = None

    def arrived(self) -> None:
        """Take note of the time, if this is the first text."""
        self.first = self.first or time.monotonic()


class Metrics:
    """Counts requests. Everything happens on one event loop."""

    def __init__(self) -> None:
        self.open = 0
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._times = {family.name: _Histogram(family) for family in (_FIRST, _WHOLE)}

    @contextmanager
    def watching(self, path: str) -> Iterator[Watch]:
        """Count a request that is answered in the body."""
        watch, started = Watch(), time.monotonic()
        self.open += 1
        try:
            yield watch
        finally:
            self.open -= 1
            self._counts[_REQUESTS.name, path, str(watch.status)] += 1
            self._ended(watch, started)

    def _ended(self, watch: Watch, started: float) -> None:
        if watch.tally is not None:
            self._counts[(_PROMPTS.name,)] += watch.tally.prompt_tokens
            self._counts[(_ANSWERS.name,)] += watch.tally.completion_tokens
        if watch.first is not None:
            self._times[_FIRST.name].add(watch.first - started)
        if watch.status == _OK:
            self._times[_WHOLE.name].add(time.monotonic() - started)

    def text(self) -> str:
        """Returns all series."""
        lines = []
        for name, family in FAMILIES.items():
            lines += [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
            if family.kind == "gauge":
                lines.append(f"{name} {self.open}")
            if family.kind == "histogram":
                lines += self._times[name].lines()
            for (counted, *values), count in sorted(self._counts.items()):
                if counted == name:
                    pairs = zip(family.labels, values, strict=True)
                    labels = ",".join(f'{label}="{value}"' for label, value in pairs)
                    lines.append(f"{name}{{{labels}}} {count}" if labels else f"{name} {count}")
        return "\n".join(lines) + "\n"


class _Histogram:
    def __init__(self, family: Family) -> None:
        self._family = family
        self._counts = [0] * (len(family.buckets) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(self._family.buckets, seconds)] += 1
        self._sum += seconds

    def lines(self) -> Iterator[str]:
        name, total = self._family.name, 0
        for bound, count in zip((*self._family.buckets, "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {total}"


def markdown_table() -> str:
    """Returns the table of the documentation."""
    return table_of(FAMILIES.values())

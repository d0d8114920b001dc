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

from nld_trt.serving.metrics import Family
from nld_trt.serving.openai.usage import Tally

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
# Upper bounds of the histograms, in seconds.
_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)

FAMILIES: Final = {
    family.name: family
    for family in (
        Family("nld_front_requests_total", "counter", "Requests that ended", ("path", "status")),
        Family("nld_front_prompt_tokens_total", "counter", "Tokens of their prompts"),
        Family("nld_front_completion_tokens_total", "counter", "Tokens of their answers"),
        Family("nld_front_open_requests", "gauge", "Requests being answered"),
    )
}
_FIRST: Final = "nld_front_time_to_first_token_seconds"
_WHOLE: Final = "nld_front_request_seconds"
HISTOGRAMS: Final = {
    _FIRST: "Time from a request with stream to the first event of its answer",
    _WHOLE: "Time from a request to the end of its answer, of those that were answered to the end",
}
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
        self._times = {name: _Histogram() for name in HISTOGRAMS}

    @contextmanager
    def watching(self, path: str) -> Iterator[Watch]:
        """Count a request that is answered in the body."""
        watch, started = Watch(), time.monotonic()
        self.open += 1
        try:
            yield watch
        finally:
            self.open -= 1
            self._counts["nld_front_requests_total", path, str(watch.status)] += 1
            self._ended(watch, started)

    def _ended(self, watch: Watch, started: float) -> None:
        if watch.tally is not None:
            self._counts[("nld_front_prompt_tokens_total",)] += watch.tally.prompt_tokens
            self._counts[("nld_front_completion_tokens_total",)] += watch.tally.completion_tokens
        if watch.first is not None:
            self._times[_FIRST].add(watch.first - started)
        if watch.status == _OK:
            self._times[_WHOLE].add(time.monotonic() - started)

    def text(self) -> str:
        """Returns all series."""
        lines = []
        for name, family in FAMILIES.items():
            lines += [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
            if family.kind == "gauge":
                lines.append(f"{name} {self.open}")
            for (counted, *values), count in sorted(self._counts.items()):
                if counted == name:
                    pairs = zip(family.labels, values, strict=True)
                    labels = ",".join(f'{label}="{value}"' for label, value in pairs)
                    lines.append(f"{name}{{{labels}}} {count}" if labels else f"{name} {count}")
        for name, about in HISTOGRAMS.items():
            lines += [f"# HELP {name} {about}", f"# TYPE {name} histogram", *self._times[name].lines(name)]
        return "\n".join(lines) + "\n"


class _Histogram:
    def __init__(self) -> None:
        self._counts = [0] * (len(_BUCKETS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(_BUCKETS, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str) -> Iterator[str]:
        total = 0
        for bound, count in zip((*_BUCKETS, "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {total}"


def markdown_table() -> str:
    """Returns the table of the documentation."""
    lines = ["| name | kind | labels | meaning |", "|---|---|---|---|"]
    for family in FAMILIES.values():
        labels = ", ".join(f"`{label}`" for label in family.labels) or "–"
        lines.append(f"| `{family.name}` | {family.kind} | {labels} | {family.help} |")
    lines += [f"| `{name}` | histogram | – | {about} |" for name, about in HISTOGRAMS.items()]
    return "\n".join(lines)

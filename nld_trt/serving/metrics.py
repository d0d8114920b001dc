# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The decode loop's metrics, which Prometheus scrapes from Triton's metrics port."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from nld_trt.decode.row import Emission, Row
from nld_trt.errors import InputError, NldError
from nld_trt.serving.errors import QueueFull, Unavailable

# Why a request is refused, by the kind of its error; the first match is used.
REASONS: tuple[tuple[type[NldError], str], ...] = (
    (InputError, "invalid"),
    (QueueFull, "queue_full"),
    (Unavailable, "unavailable"),
    (NldError, "failed"),
)

Kind = Literal["counter", "gauge"]


@dataclass(frozen=True)
class Family:
    """One metric, by name. Every series also has the label ``model``."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("nld_requests_total", "counter", "Requests that ended", ("mode", "finish_reason")),
        Family("nld_refused_requests_total", "counter", "Requests that were refused", ("reason",)),
        Family("nld_tokens_total", "counter", "Generated tokens", ("mode",)),
        Family("nld_forwards_total", "counter", "Forwards that ended requests took part in", ("mode", "kind")),
        Family("nld_rounds_total", "counter", "Draft and verify rounds of ended requests"),
        Family("nld_accepted_tokens_total", "counter", "Tokens that those rounds accepted, before any cut"),
        Family("nld_live_rows", "gauge", "Requests being decoded"),
        Family("nld_waiting_requests", "gauge", "Requests waiting for a free row"),
    )
}


def markdown_table() -> str:
    """Returns the table of the documentation."""
    lines = ["| name | kind | labels | meaning |", "|---|---|---|---|"]
    for family in FAMILIES.values():
        labels = ", ".join(f"`{label}`" for label in family.labels) or "–"
        lines.append(f"| `{family.name}` | {family.kind} | {labels} | {family.help} |")
    return "\n".join(lines)


class Series(Protocol):
    """One family with values for its labels."""

    def increment(self, value: float) -> None: ...
    def set(self, value: float) -> None: ...


SeriesMaker = Callable[[Family, Mapping[str, str]], Series]


class Metrics:
    """An observer of the scheduler that keeps the families up to date.

    Args:
        make: creates a series; it is called once for each family and set of labels.
    """

    def __init__(self, make: SeriesMaker) -> None:
        self._make = make
        self._series: dict[tuple[str, ...], Series] = {}
        self._gauges: dict[str, int] = {}

    def stepped(self, emissions: Sequence[Emission], live: int, waiting: int) -> None:
        tokens: Counter[str] = Counter()
        for emission in emissions:
            tokens[emission.row.request.mode] += len(emission.tokens)
            if emission.finish_reason is not None:
                self._ended(emission.row)
        for mode, count in tokens.items():
            self._add("nld_tokens_total", count, mode)
        self._show("nld_live_rows", live)
        self._show("nld_waiting_requests", waiting)

    def refused(self, error: NldError) -> None:
        """Count a request that was not accepted. It is called on the thread that reads requests."""
        self._add("nld_refused_requests_total", 1, next(name for kind, name in REASONS if isinstance(error, kind)))

    def _ended(self, row: Row) -> None:
        mode, counters = row.request.mode, row.counters
        self._add("nld_requests_total", 1, mode, str(row.finish_reason))
        for kind, count in counters.forwards.items():
            self._add("nld_forwards_total", count, mode, kind)
        self._add("nld_rounds_total", len(counters.accepted))
        self._add("nld_accepted_tokens_total", sum(counters.accepted))

    def _add(self, name: str, value: float, *labels: str) -> None:
        if value:
            self._get(name, *labels).increment(value)

    def _show(self, name: str, value: int) -> None:
        # Setting a gauge is a call into the server, so it is done only when the value has changed.
        if self._gauges.get(name) != value:
            self._gauges[name] = value
            self._get(name).set(value)

    def _get(self, name: str, *labels: str) -> Series:
        key = (name, *labels)
        if key not in self._series:
            family = FAMILIES[name]
            self._series[key] = self._make(family, dict(zip(family.labels, labels, strict=True)))
        return self._series[key]

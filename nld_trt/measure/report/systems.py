# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Published figures of the systems that are compared, also of those that cannot be converted here."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

_FILE: Final = Path(__file__).with_name("systems.csv")
_RATE: Final = "output_tps"
_ACCEPTANCE: Final = "acceptance_length"
# Coding, math, reasoning and multilingual.
_FOUR: Final = "speed4"


@dataclass(frozen=True)
class PublishedRates:
    """What a system was published to give on a platform.

    Attributes:
        rates: output tokens per second of all users, by their number.
    """

    system: str
    precision: str
    platform: str
    source: str
    rates: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PublishedAcceptance:
    """Tokens per verified draft of a system: over all categories of SPEED-Bench, and over the first four."""

    system: str
    over_all: float
    over_four: float
    source: str


@cache
def published_rates() -> tuple[PublishedRates, ...]:
    """Every system on each platform, in the order of the file."""
    found: dict[tuple[str, str, str, str], dict[int, float]] = {}
    for row in _rows(_RATE):
        which = row["system"], row["precision"], row["platform"], row["source"]
        found.setdefault(which, {})[int(row["users"])] = float(row["value"])
    return tuple(PublishedRates(*which, rates) for which, rates in found.items())


@cache
def published_acceptance() -> tuple[PublishedAcceptance, ...]:
    """Every system whose acceptance was published."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for row in _rows(_ACCEPTANCE):
        found.setdefault((row["system"], row["source"]), {})[row["workload"]] = float(row["value"])
    return tuple(
        PublishedAcceptance(system, values["all"], values[_FOUR], source) for (system, source), values in found.items()
    )


def _rows(metric: str) -> list[dict[str, str]]:
    with _FILE.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return [row for row in rows if row["metric"] == metric]

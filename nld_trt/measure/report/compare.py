# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Two runs point by point, with the spread of their repeats.

Two points are told apart only if the ranges of their repeats, from the lowest to the highest rate, have nothing in
common. If nothing had changed, every order of the repeats of both would be as probable as any other, so that n and m
repeats would lie apart with probability 2 / C(n + m, n): one point in ten for three repeats each. Repeats of a point
follow each other, so that what changes slowly on a machine is not in their spread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from nld_trt.errors import InputError
from nld_trt.measure.report.measured import Measurement, Settings, Subject, SweepRun

FASTER: Final = "faster"
SLOWER: Final = "slower"
NO_DIFFERENCE: Final = "no difference"
NO_SPREAD: Final = "unknown: one repeat has no spread"

# What decides which tokens a point decodes.
_WORK: Final = ("prompts_sha256", "max_new_tokens", "ignore_eos", "scripted")

_Keyed = dict[tuple[Settings, Subject | None], Measurement]


@dataclass(frozen=True)
class Pair:
    """A point of both runs."""

    first: Measurement
    second: Measurement

    @property
    def change(self) -> float:
        """The second rate over the first, less 1."""
        return self.second.rate / self.first.rate - 1

    @property
    def verdict(self) -> str:
        """What the repeats say about the second run."""
        if min(self.first.repeats, self.second.repeats) < 2:
            return NO_SPREAD
        (low, high), (other_low, other_high) = self.first.spread, self.second.spread
        if other_low > high:
            return FASTER
        return SLOWER if other_high < low else NO_DIFFERENCE

    @property
    def chance(self) -> float:
        """The probability of a difference by chance, if nothing had changed."""
        first, second = self.first.repeats, self.second.repeats
        return 0.0 if min(first, second) < 2 else 2 / math.comb(first + second, first)


@dataclass(frozen=True)
class Comparison:
    """Two runs.

    Attributes:
        only_first, only_second: points that the other run does not have.
    """

    first: SweepRun
    second: SweepRun
    pairs: tuple[Pair, ...]
    only_first: tuple[Measurement, ...]
    only_second: tuple[Measurement, ...]

    def count(self, verdict: str) -> int:
        return sum(pair.verdict == verdict for pair in self.pairs)

    @property
    def expected_by_chance(self) -> float:
        """How many points would differ if nothing had changed."""
        return sum(pair.chance for pair in self.pairs)

    @property
    def says(self) -> str:
        """The outcome in a sentence."""
        told = len(self.pairs) - self.count(NO_SPREAD)
        if not told:
            return "Nothing can be said: a run has one repeat, which has no spread."
        faster, slower = self.count(FASTER), self.count(SLOWER)
        untold = f" {len(self.pairs) - told} more have one repeat." if told < len(self.pairs) else ""
        if not faster + slower:
            return f"There is no difference at any of {told} points.{untold}"
        return (
            f"Of {told} points {self.second.name} is faster at {faster} and slower at {slower}; "
            f"{told - faster - slower} have no difference. "
            f"If nothing had changed, about {self.expected_by_chance:.1f} would differ by chance.{untold}"
        )


def compare(first: SweepRun, second: SweepRun) -> Comparison:
    """Match the points of two runs by their settings, and by what was measured where a run has several subjects.

    Raises:
        InputError: the runs did not decode the same, or have no point in common.
    """
    _refuse_other_work(first, second)
    several = any(len({each.subject for each in run.measurements}) > 1 for run in (first, second))

    def keyed(run: SweepRun) -> _Keyed:
        return {(each.settings, each.subject if several else None): each for each in run.measurements}

    left, right = keyed(first), keyed(second)
    pairs = tuple(Pair(left[key], right[key]) for key in left if key in right and left[key].rate > 0)
    if not pairs:
        raise InputError(
            f"{first.folder} and {second.folder} have no point in common",
            fix="Compare sweeps with the same --modes, --block-length, --threshold and --concurrency.",
        )
    return Comparison(first, second, pairs, _without(left, right), _without(right, left))


def _without(points: _Keyed, others: _Keyed) -> tuple[Measurement, ...]:
    return tuple(each for key, each in points.items() if key not in others)


def _refuse_other_work(first: SweepRun, second: SweepRun) -> None:
    def values(run: SweepRun, name: str) -> list[str]:
        return sorted({str(workload.get(name)) for workload in run.workloads})

    names = [name for name in _WORK if values(first, name) != values(second, name)]
    if names:
        lines = [f"{name}: {', '.join(values(first, name))} and {', '.join(values(second, name))}" for name in names]
        raise InputError(
            f"{first.folder} and {second.folder} did not decode the same requests, so their rates cannot be compared",
            details=lines,
            fix="Repeat one of the sweeps with the settings of the other.",
        )

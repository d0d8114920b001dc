# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What the measured points say: the Pareto frontier, where AR overtakes, and speed-ups over AR."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nld_trt.measure.report.measured import Measurement, Subject


def by_subject(measurements: Iterable[Measurement]) -> dict[tuple[str, Subject], list[Measurement]]:
    """The points of each run and subject, in their order."""
    found: dict[tuple[str, Subject], list[Measurement]] = {}
    for each in measurements:
        found.setdefault((each.run, each.subject), []).append(each)
    return found


def by_series(measurements: Iterable[Measurement]) -> dict[str, list[Measurement]]:
    """The points of each series, by the number of users."""
    found: dict[str, list[Measurement]] = {}
    for each in measurements:
        found.setdefault(each.series, []).append(each)
    return {name: sorted(points, key=lambda each: each.users) for name, points in found.items()}


def frontier(points: Sequence[tuple[float, float]]) -> list[int]:
    """Places of the points that no other one beats in both coordinates, by the first one.

    Of equal points all are on the frontier.
    """
    chosen: list[int] = []
    best = -math.inf
    for place in sorted(range(len(points)), key=lambda place: (-points[place][0], -points[place][1])):
        if points[place][1] > best or (chosen and points[place] == points[chosen[-1]]):
            chosen.append(place)
            best = points[place][1]
    return chosen[::-1]


@dataclass(frozen=True)
class Crossover:
    """Where AR overtakes another series.

    Attributes:
        users: where the lines through the medians cross, between two measured numbers of users; None if they do not.
        rate: tokens per second there.
        said: the finding in words.
    """

    series: str
    users: float | None
    rate: float | None
    said: str


def crossover(ar: Sequence[Measurement], other: Sequence[Measurement], name: str) -> Crossover | None:
    """From how many users on AR gives more tokens per second than another series; None without two common numbers.

    From there on AR is ahead at every larger number of users that was measured. Between two numbers of users the
    logarithm of the rate is taken as linear in the logarithm of the users.
    """
    rates = {each.users: each.rate for each in other}
    common = sorted((each.users, each.rate, rates[each.users]) for each in ar if each.users in rates)
    if len(common) < 2:
        return None
    ahead = [first > second for _, first, second in common]
    low, high = common[0][0], common[-1][0]
    if not ahead[-1]:
        return Crossover(name, None, None, f"{name} is ahead of AR at {high} users, the most that were measured")
    if all(ahead):
        return Crossover(name, None, None, f"AR is ahead of {name} at every number of users from {low} to {high}")
    last = max(place for place, is_ahead in enumerate(ahead) if not is_ahead)
    users, rate = _crossing(common[last], common[last + 1])
    said = f"AR overtakes {name} between {common[last][0]} and {common[last + 1][0]} users, at about {about(users)}"
    return Crossover(name, users, rate, said)


def crossovers(measurements: Iterable[Measurement]) -> list[Crossover]:
    """Of one subject: AR against every other series but auto, which follows the better of them."""
    series = by_series(measurements)
    ar = next((points for points in series.values() if points[0].is_ar), [])
    others = {name: points for name, points in series.items() if not (points[0].is_ar or points[0].is_auto)}
    return [found for name, points in others.items() if (found := crossover(ar, points, name)) is not None]


def best_fixed(measurements: Iterable[Measurement]) -> dict[int, Measurement]:
    """The point with the most tokens per second at each number of users, auto left out."""
    best: dict[int, Measurement] = {}
    for each in measurements:
        if not each.is_auto and (each.users not in best or each.rate > best[each.users].rate):
            best[each.users] = each
    return dict(sorted(best.items()))


@dataclass(frozen=True)
class Speedup:
    """Tokens per second of a series over those of AR, at one number of users.

    Attributes:
        low, high: the lowest rate over AR's highest, and the highest over AR's lowest.
    """

    series: str
    mode: str
    users: int
    factor: float
    low: float
    high: float


def speedups(measurements: Iterable[Measurement]) -> list[Speedup]:
    """Of one subject: every other series at the numbers of users at which AR was measured."""
    points = list(measurements)
    base: Mapping[int, Measurement] = {each.users: each for each in points if each.is_ar}
    return [
        Speedup(
            each.series,
            each.mode,
            each.users,
            each.rate / base[each.users].rate,
            each.spread[0] / base[each.users].spread[1],
            each.spread[1] / base[each.users].spread[0],
        )
        for each in points
        if not each.is_ar and each.users in base and base[each.users].spread[0] > 0
    ]


def about(users: float) -> str:
    """A number of users that is no measured one: whole from 10 on."""
    return f"{users:.0f}" if users >= 10 else f"{users:.1f}"


def _crossing(left: tuple[int, float, float], right: tuple[int, float, float]) -> tuple[float, float]:
    """Where two lines cross, given (users, first, second) at both ends; on logarithmic axes."""
    gap_left, gap_right = (math.log(first / second) for _, first, second in (left, right))
    part = gap_left / (gap_left - gap_right)
    users = math.exp(math.log(left[0]) + part * math.log(right[0] / left[0]))
    rate = math.exp(math.log(left[1]) + part * math.log(right[1] / left[1]))
    return users, rate

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The charts of a report, from what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nld_trt.decode.figures import ACCEPTANCE_LENGTH
from nld_trt.measure.report import styles
from nld_trt.measure.report.chart import (
    Bar,
    BarChart,
    Line,
    Mark,
    Rule,
    Style,
    XyChart,
    axis_over,
    linear_axis,
    number,
    users_axis,
)
from nld_trt.measure.report.compare import FASTER, NO_DIFFERENCE, NO_SPREAD, SLOWER, Comparison
from nld_trt.measure.report.frontier import Crossover, Speedup, about, by_series, frontier
from nld_trt.measure.report.measured import Measurement
from nld_trt.measure.report.plan import PlanCheck
from nld_trt.measure.report.published import PublishedSpeedup
from nld_trt.measure.sweep.report import series

_OF_VERDICT = {
    FASTER: Style(styles.BLUE, "triangle"),
    SLOWER: Style(styles.VERMILLION, "inverted"),
    NO_DIFFERENCE: Style(styles.GREY, "circle"),
    NO_SPREAD: Style(styles.ORANGE, "cross"),
}


@dataclass(frozen=True)
class Group:
    """Points of one run and subject.

    Attributes:
        name: what tells it from the others of the report, for legends; empty where there is one.
        title: in full, for headings.
        key: for names of files.
    """

    name: str
    title: str
    key: str
    points: tuple[Measurement, ...]


def throughput(group: Group, crossings: Sequence[Crossover], overtaking: Crossover | None) -> XyChart:
    """Tokens per second of all users over the number of users, a line for each mode.

    Args:
        crossings: where AR overtakes each of the others.
        overtaking: where it overtakes the best of them, which is marked by a line.
    """
    found = by_series(group.points)
    looks = styles.styles([points[0].mode for points in found.values()])
    lines = [
        Line(name, look, tuple(Mark(each.users, each.rate, tip=tip(each), spread=_spread(each)) for each in points))
        for (name, points), look in zip(found.items(), looks, strict=True)
    ]
    # A wide line is drawn first, so that one sees which of the others it follows.
    lines.sort(key=lambda line: not line.style.wide)
    crossed = [Mark(each.users, each.rate, tip=each.said) for each in crossings if each.users and each.rate]
    if crossed:
        lines.append(Line("AR overtakes", Style(styles.YELLOW, "diamond"), tuple(crossed), joined=False))
    rules = () if overtaking is None or overtaking.users is None else (_rule(overtaking.users),)
    rates = [value for each in group.points for value in (each.rate, *each.spread) if value > 0]
    return XyChart(
        f"throughput-{group.key}",
        f"Output tokens per second over the number of users, {group.title}",
        users_axis([each.users for each in group.points]),
        axis_over("tokens/s, all users", rates),
        tuple(lines),
        rules,
    )


def pareto(groups: Sequence[Group], *, per_gpu: bool) -> XyChart | None:
    """Tokens per second for one user against those of a GPU, or of all users on a CPU; None without such points."""
    kept = [
        (f"{group.name}: {name}" if group.name else name, points)
        for group in groups
        for name, all_points in by_series(group.points).items()
        if (points := [each for each in all_points if each.per_user and each.rate > 0 and bool(each.gpus) == per_gpu])
    ]
    places = [place for _, points in kept for place in map(_place, points)]
    if not places:
        return None
    best = {places[index] for index in frontier(places)}
    looks = styles.styles([points[0].mode for _, points in kept])
    lines = [
        Line(
            name,
            look,
            tuple(Mark(*_place(each), str(each.users), tip(each), faded=_place(each) not in best) for each in points),
            quiet=True,
        )
        for (name, points), look in zip(kept, looks, strict=True)
    ]
    every = "tokens/s/GPU" if per_gpu else "tokens/s, all users"
    return XyChart(
        "pareto-gpu" if per_gpu else "pareto",
        f"{every} against tokens/s/user; numbers beside the points are users",
        axis_over("tokens/s/user", [x for x, _ in places]),
        axis_over(every, [y for _, y in places]),
        tuple(lines),
        frontier=tuple(sorted(best)),
    )


def speedup(measured: Mapping[str, Sequence[Speedup]], published: Sequence[PublishedSpeedup]) -> BarChart:
    """Factors over AR: what was measured, in a group for each subject, beside what was published."""
    groups = [
        (
            title,
            tuple(
                Bar(
                    f"{each.series}, {_users(each.users)}",
                    each.factor,
                    f"{each.factor:.2f} ×",
                    Style(styles.colour_of(each.mode)),
                    (each.low, each.high),
                    tip=f"{each.factor:.2f} × AR, from {each.low:.2f} to {each.high:.2f} over the repeats",
                )
                for each in found
            ),
        )
        for title, found in measured.items()
        if found
    ]
    bars = tuple(
        Bar(
            each.title + (", optimised kernel" if "kernel" in each.stack else ""),
            each.factor,
            f"{each.factor:.2f} ×" + (" (doubtful)" if each.doubtful else ""),
            Style(styles.GREY),
            faded=each.doubtful,
            tip=f"{each.linear:g} over {each.ar:g} tokens/s, {each.stack}; {'; '.join(each.sources)}",
        )
        for each in published
    )
    every = [*groups, ("published: 8B, linear, block 32, 1 user", bars)]
    most = max(value for _, found in every for bar in found for value in (bar.value, *(bar.spread or ())))
    axis = linear_axis("tokens/s over those of AR", 0.0, most)
    return BarChart("speedup", "Speed-up over AR, measured and published", axis, tuple(every), mark=1.0)


def planned(checks: Sequence[PlanCheck]) -> XyChart:
    """What the plan says against what was measured, with the plan's range; right is on the diagonal."""
    rates = [value for each in checks for value in (each.planned.low, each.planned.high, each.measured.rate)]
    axis = axis_over("measured tokens/s", rates)
    found: dict[str, list[PlanCheck]] = {}
    for check in checks:
        found.setdefault(check.measured.series, []).append(check)
    looks = styles.styles([each[0].measured.mode for each in found.values()])
    lines = tuple(
        Line(
            name,
            look,
            tuple(
                Mark(
                    each.measured.rate,
                    each.planned.rate,
                    str(each.measured.users),
                    f"{_users(each.measured.users)}: planned {number(each.planned.rate)}, "
                    f"measured {number(each.measured.rate)} tokens/s ({each.error:+.1%})",
                    (each.planned.low, each.planned.high),
                )
                for each in each_of
            ),
            joined=False,
        )
        for (name, each_of), look in zip(found.items(), looks, strict=True)
    )
    title = "Planned against measured tokens/s; numbers beside the points are users"
    return XyChart("plan", title, axis, replace(axis, title="planned tokens/s"), lines, diagonal=True)


def compared(comparison: Comparison) -> XyChart:
    """The rates of the second run against those of the first; no change is on the diagonal."""
    found = [value for pair in comparison.pairs for value in (pair.first.rate, pair.second.rate, *pair.second.spread)]
    rates = [value for value in found if value > 0]
    axis = axis_over(f"tokens/s, {comparison.first.name}", rates)
    lines = tuple(
        Line(verdict, look, marks, joined=False)
        for verdict, look in _OF_VERDICT.items()
        if (
            marks := tuple(
                Mark(
                    pair.first.rate,
                    pair.second.rate,
                    str(pair.first.users),
                    f"{pair.first.series}, {_users(pair.first.users)}: {pair.change:+.1%}, {verdict}",
                    _spread(pair.second),
                )
                for pair in comparison.pairs
                if pair.verdict == verdict and pair.second.rate > 0
            )
        )
    )
    title = f"Tokens/s of {comparison.second.name} against {comparison.first.name}; numbers are users"
    return XyChart(
        "compare", title, axis, replace(axis, title=f"tokens/s, {comparison.second.name}"), lines, diagonal=True
    )


def acceptance(rows: Sequence[Mapping[str, Any]], key: str) -> BarChart | None:
    """Acceptance length by category of prompts, a bar for each series at its lowest concurrency; None without any."""
    shown: dict[tuple[str, str], Mapping[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["concurrency"]):
        if row[ACCEPTANCE_LENGTH.name] is not None:
            shown.setdefault((row["category"], series(row)), row)
    if not shown:
        return None
    groups = tuple(
        (
            category,
            tuple(
                Bar(name, value, f"{value:.2f}", Style(styles.colour_of(row["mode"])))
                for (of, name), row in shown.items()
                if of == category and (value := row[ACCEPTANCE_LENGTH.name]) is not None
            ),
        )
        for category in sorted({category for category, _ in shown})
    )
    most = max(bar.value for _, bars in groups for bar in bars)
    axis = linear_axis("tokens per verified draft", 0.0, most)
    return BarChart(f"acceptance-{key}", "Acceptance length by category of prompts", axis, groups)


def tip(point: Measurement) -> str:
    """What a pointer that rests on a point is told."""
    low, high = point.spread
    own = "" if point.per_user is None else f", {number(point.per_user)} for each user"
    return (
        f"{point.series}, {_users(point.users)}: {number(point.rate)} tokens/s "
        f"({number(low)} to {number(high)} over {point.repeats} repeats){own}; {point.source}"
    )


def _place(point: Measurement) -> tuple[float, float]:
    assert point.per_user is not None
    return point.per_user, point.rate / (point.gpus or 1)


def _spread(point: Measurement) -> tuple[float, float] | None:
    return point.spread if point.repeats > 1 and point.spread[0] > 0 else None


def _users(count: int) -> str:
    return f"{count} user{'s' * (count != 1)}"


def _rule(users: float) -> Rule:
    return Rule(users, f"AR best from about {about(users)} users on")


def keys(titles: Iterable[str]) -> list[str]:
    """A short name for files from each title, no two alike."""
    found: list[str] = []
    for title in titles:
        text = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in title.lower())
        text = "-".join(part for part in text.split("-") if part)[:48] or "run"
        found.append(text if text not in found else f"{text}-{len(found) + 1}")
    return found

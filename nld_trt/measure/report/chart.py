# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Charts as data: what is drawn, and where ticks go. ``svg`` and ``png`` draw it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal

# From this ratio of the largest to the smallest value on, an axis is logarithmic.
LOG_FROM: Final = 20.0
_DECADE_STEPS: Final = (1, 2, 5)

Shape = Literal["circle", "square", "diamond", "triangle", "cross", "inverted"]
SHAPES: Final[tuple[Shape, ...]] = ("circle", "square", "diamond", "triangle", "inverted", "cross")


@dataclass(frozen=True)
class Style:
    """How a line or a bar looks. Lines of one colour differ in shape and dashes, so that no reader needs the colour."""

    colour: str
    shape: Shape = "circle"
    dashed: bool = False
    wide: bool = False


@dataclass(frozen=True)
class Mark:
    """A point of a chart.

    Attributes:
        label: drawn beside it.
        tip: shown when the pointer rests on it.
        spread: the lowest and the highest y, drawn as a whisker.
        faded: another point is better in both coordinates.
    """

    x: float
    y: float
    label: str = ""
    tip: str = ""
    spread: tuple[float, float] | None = None
    faded: bool = False


@dataclass(frozen=True)
class Line:
    """Points of one name and look.

    Attributes:
        joined: by a line.
        quiet: the line is thin and pale, since it is the points that matter.
    """

    name: str
    style: Style
    marks: tuple[Mark, ...]
    joined: bool = True
    quiet: bool = False


@dataclass(frozen=True)
class Axis:
    """An axis.

    Attributes:
        logarithmic: equal factors have equal lengths, in place of equal differences.
        low, high: its ends, in data units.
        ticks: the values that have a label.
    """

    title: str
    logarithmic: bool
    low: float
    high: float
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Where a value lies, from 0 to 1."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Rule:
    """A vertical line through a plot, with words at its upper end."""

    x: float
    text: str


@dataclass(frozen=True)
class XyChart:
    """Lines and points over two axes.

    Attributes:
        name: of the picture's file.
        title: what it shows, also for those who hear the page.
        frontier: points that are joined by a wide line under all others.
        diagonal: draw the line of equal coordinates.
    """

    name: str
    title: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    rules: tuple[Rule, ...] = ()
    frontier: tuple[tuple[float, float], ...] = ()
    diagonal: bool = False


@dataclass(frozen=True)
class Bar:
    """A bar with its name before it and its value after it."""

    name: str
    value: float
    text: str
    style: Style
    spread: tuple[float, float] | None = None
    faded: bool = False
    tip: str = ""


@dataclass(frozen=True)
class BarChart:
    """Horizontal bars, in groups, from 0 on.

    Attributes:
        mark: a value that is drawn as a line, such as 1 for a factor.
    """

    name: str
    title: str
    axis: Axis
    groups: tuple[tuple[str, tuple[Bar, ...]], ...]
    mark: float | None = None

    @property
    def bars(self) -> list[Bar]:
        return [bar for _, bars in self.groups for bar in bars]


Chart = XyChart | BarChart


def axis_over(title: str, values: Iterable[float], *, zero: bool = True) -> Axis:
    """An axis for data: logarithmic if its range asks for it, else linear from 0 or from the lowest value.

    Args:
        values: not empty.
        zero: a linear axis begins at 0.
    """
    found = list(values)
    low, high = min(found), max(found)
    if low > 0 and high / low >= LOG_FROM:
        return log_axis(title, low, high)
    return linear_axis(title, 0.0 if zero else low, high)


def log_axis(title: str, low: float, high: float) -> Axis:
    """A logarithmic axis with some room at both ends."""
    room = max((high / low) ** 0.06, 1.05)
    first, last = low / room, high * room
    decades = range(math.floor(math.log10(first)), math.ceil(math.log10(last)) + 1)
    steps = _DECADE_STEPS if last / first < 1e3 else (1,)
    ticks = tuple(tick for decade in decades for step in steps if first <= (tick := step * 10.0**decade) <= last)
    return Axis(title, True, first, last, ticks)


def linear_axis(title: str, low: float, high: float) -> Axis:
    """A linear axis whose ends are ticks of 1, 2 or 5 times a power of ten."""
    span = (high - low) or abs(high) or 1.0
    raw = span / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first, last = math.floor(low / step), math.ceil((high + span * 0.04) / step)
    ticks = tuple(round(place * step, 12) for place in range(first, last + 1))
    return Axis(title, False, ticks[0], ticks[-1], ticks)


def users_axis(users: Sequence[int]) -> Axis:
    """An axis of numbers of users, which are its ticks; logarithmic if they reach from 1 to 8."""
    levels = sorted(set(users))
    if levels[-1] / levels[0] < 8:
        last = levels[-1] + max(0.5, 0.08 * (levels[-1] - levels[0]))
        return Axis("users (requests in flight)", False, levels[0] - 0.5, last, tuple(map(float, levels)))
    room = (levels[-1] / levels[0]) ** 0.05
    return Axis("users (requests in flight)", True, levels[0] / room, levels[-1] * room, _apart(levels, room))


def _apart(levels: Sequence[int], least: float) -> tuple[float, ...]:
    """The levels without those that lie closer than a factor to the one before them."""
    kept = [levels[0]]
    kept += [level for before, level in pairwise(levels) if level / max(before, kept[-1]) >= least]
    return tuple(map(float, kept))


def number(value: float) -> str:
    """A number for people: three digits that count, thousands apart.

    >>> number(1234.5), number(12.34), number(0.5)
    ('1,234', '12.3', '0.5')
    """
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass
class Places:
    """Rectangles that are taken, for labels that must not lie on each other or on points.

    Attributes:
        left, top, right, bottom: of the area that labels stay in.
    """

    left: float
    top: float
    right: float
    bottom: float
    _taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    def take(self, x: float, y: float, width: float, height: float) -> None:
        """Take a rectangle by its centre."""
        self._taken.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))

    def near(self, x: float, y: float, width: float, height: float, *, needed: bool) -> tuple[float, float] | None:
        """Take a free rectangle near a point, and return its centre: one of 16 around it, the nearest free one.

        Args:
            needed: take the one that covers least where none is free, in place of returning None.
        """
        around = [
            (x + radius * (width / 2 + 5) * horizontal, y + radius * (height / 2 + 4) * vertical)
            for radius in (1.0, 1.7)
            for horizontal, vertical in ((1, -1), (-1, -1), (1, 1), (-1, 1), (0, -1.35), (0, 1.35), (1.2, 0), (-1.2, 0))
        ]
        chosen = min(around, key=lambda centre: self._overlap(centre[0], centre[1], width, height))
        if not needed and self._overlap(chosen[0], chosen[1], width, height):
            return None
        self.take(*chosen, width, height)
        return chosen

    def _overlap(self, x: float, y: float, width: float, height: float) -> float:
        """The area that a rectangle would cover of taken ones and of what is outside."""
        left, top, right, bottom = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        beyond = (self.left - left, right - self.right, self.top - top, bottom - self.bottom)
        outside = sum(max(0.0, length) for length in beyond)
        covered = sum(
            max(0.0, min(right, other[2]) - max(left, other[0])) * max(0.0, min(bottom, other[3]) - max(top, other[1]))
            for other in self._taken
        )
        return covered + outside * 1e3

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Charts drawn as SVG, by hand: no library, no font and no script is needed to see one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from textwrap import wrap
from typing import Final

from nld_trt.measure.report.chart import Axis, Bar, BarChart, Chart, Line, Mark, Places, Style, XyChart, number
from nld_trt.measure.report.chart import Shape as ShapeName

WIDTH: Final = 480
_LEFT, _RIGHT, _TOP = 58, 22, 22
_PLOT: Final = 290  # height of the plot area
_FONT: Final = 12
_LETTER: Final = 6.9  # width of a letter of this font, on average
_BOLD_LETTER: Final = 7.2
_ROW: Final = 18  # height of a line of the legend
_BAR: Final = 17
_NAMES: Final = 200.0  # most width of the names of bars
_INK, _GRID, _QUIET = "#222", "#e3e3e3", "#666"
_FADED: Final = 0.3

_SHAPES: Final[dict[ShapeName, Callable[[float, float], str]]] = {
    "circle": lambda x, y: f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>',
    "square": lambda x, y: f'<rect x="{x - 3.6:.1f}" y="{y - 3.6:.1f}" width="7.2" height="7.2"/>',
    "diamond": lambda x, y: _polygon((x, y - 5), (x + 5, y), (x, y + 5), (x - 5, y)),
    "triangle": lambda x, y: _polygon((x, y - 5), (x + 4.6, y + 3.6), (x - 4.6, y + 3.6)),
    "inverted": lambda x, y: _polygon((x, y + 5), (x + 4.6, y - 3.6), (x - 4.6, y - 3.6)),
    "cross": lambda x, y: f'<path d="M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8" fill="none" stroke-width="2.5"/>',
}


def svg(chart: Chart) -> str:
    """The chart as one SVG element, which scales with its surroundings."""
    return _bars(chart) if isinstance(chart, BarChart) else _xy(chart)


def _xy(chart: XyChart) -> str:
    inner = WIDTH - _LEFT - _RIGHT

    def at(x: float, y: float) -> tuple[float, float]:
        return _LEFT + chart.x.place(x) * inner, _TOP + (1 - chart.y.place(y)) * _PLOT

    bottom = _TOP + _PLOT
    parts = [*_grid(chart.x, chart.y, inner), _text(_LEFT - 50, 12, chart.y.title, fill=_QUIET)]
    parts.append(_text(_LEFT + inner / 2, bottom + 34, chart.x.title, anchor="middle", fill=_QUIET))
    if chart.diagonal:
        low, high = max(chart.x.low, chart.y.low), min(chart.x.high, chart.y.high)
        parts.append(_path([at(low, low), at(high, high)], _QUIET, 1, "4 4"))
    if len(chart.frontier) > 1:
        parts.append(_path([at(*point) for point in chart.frontier], "#bbb", 6, None, "0.6"))
    places = Places(_LEFT, _TOP - 8, WIDTH, bottom)
    for line in chart.lines:
        for mark in line.marks:
            places.take(*at(mark.x, mark.y), 9, 9)
    for rule in chart.rules:
        x, _ = at(rule.x, chart.y.high)
        parts.append(_path([(x, _TOP), (x, bottom)], _QUIET, 1.2, "5 3"))
        parts.append(_rule_text(x, rule.text, places))
    for line in chart.lines:
        parts += _line(line, at)
    for mark in sorted((m for line in chart.lines for m in line.marks if m.label), key=lambda mark: mark.faded):
        # Where there is no room, a point off the frontier goes without: its tip and the table have the number.
        needed = bool(chart.frontier) and not mark.faded
        place = places.near(*at(mark.x, mark.y), _width(mark.label), 11, needed=needed)
        if place is not None:
            fill = _QUIET if mark.faded else None
            parts.append(_text(place[0], place[1] + 4, mark.label, anchor="middle", fill=fill, halo=True))
    legend, height = _legend([(line.name, line.style) for line in chart.lines], bottom + 46)
    return _whole(chart, [*parts, *legend], height)


def _grid(x: Axis, y: Axis, inner: float) -> Iterable[str]:
    bottom = _TOP + _PLOT
    for tick in y.ticks:
        place = _TOP + (1 - y.place(tick)) * _PLOT
        yield _path([(_LEFT, place), (_LEFT + inner, place)], _GRID, 1)
        yield _text(_LEFT - 6, place + 4, number(tick), anchor="end")
    for tick in x.ticks:
        place = _LEFT + x.place(tick) * inner
        yield _path([(place, _TOP), (place, bottom)], _GRID, 1)
        yield _text(place, bottom + 16, number(tick), anchor="middle")
    yield _path([(_LEFT, _TOP), (_LEFT, bottom), (_LEFT + inner, bottom)], _QUIET, 1)


def _line(line: Line, at: Callable[[float, float], tuple[float, float]]) -> list[str]:
    style, parts = line.style, []
    if line.joined and len(line.marks) > 1:
        dashes = "6 4" if style.dashed else None
        points = [at(mark.x, mark.y) for mark in line.marks]
        width = 1.2 if line.quiet else 3 if style.wide else 1.8
        parts.append(_path(points, style.colour, width, dashes, "0.45" if line.quiet else None))
    for mark in line.marks:
        if mark.spread is not None:
            ends = [at(mark.x, value) for value in mark.spread]
            parts.append(_path(ends, style.colour, 1.2, None, str(_FADED) if mark.faded else "0.8"))
        parts.append(_mark(mark, style, at(mark.x, mark.y)))
    return parts


def _mark(mark: Mark, style: Style, place: tuple[float, float]) -> str:
    tip = f"<title>{escape(mark.tip)}</title>" if mark.tip else ""
    opacity = f' opacity="{_FADED}"' if mark.faded else ""
    colour = f'fill="{style.colour}" stroke="{style.colour}"'
    return f"<g {colour}{opacity}>{_SHAPES[style.shape](*place)}{tip}</g>"


def _rule_text(x: float, text: str, places: Places) -> str:
    """The words of a rule, on the side of it that has more room, in as many lines as they need there."""
    left = x - _LEFT > WIDTH - _RIGHT - x
    room = (x - _LEFT if left else WIDTH - _RIGHT - x) - 12
    rows = wrap(text, int(room / _BOLD_LETTER), break_long_words=False)
    width = max(map(len, rows)) * _BOLD_LETTER
    places.take(x + (-1 if left else 1) * (width / 2 + 6), _TOP + 3 + 7 * len(rows), width, 14 * len(rows))
    anchor, start = ("end", x - 6) if left else ("start", x + 6)
    return "".join(
        _text(start, _TOP + 14 * (row + 1), words, anchor=anchor, weight="600", halo=True)
        for row, words in enumerate(rows)
    )


def _bars(chart: BarChart) -> str:
    left = min(_NAMES, max(_width(bar.name) for bar in chart.bars)) + 12
    right = max(_width(bar.text) for bar in chart.bars) + 14
    inner, y, parts = WIDTH - left - right, float(_TOP), []
    end = y + sum((22 if title else 0) + len(bars) * _BAR + 6 for title, bars in chart.groups)
    for tick in chart.axis.ticks:
        x = left + chart.axis.place(tick) * inner
        parts += [_path([(x, _TOP), (x, end)], _GRID, 1), _text(x, end + 16, number(tick), anchor="middle")]
    if chart.mark is not None:
        x = left + chart.axis.place(chart.mark) * inner
        parts.append(_path([(x, _TOP), (x, end)], _QUIET, 1.2, "4 3"))
    for title, bars in chart.groups:
        if title:
            parts.append(_text(4, y + 15, fitted(title, WIDTH - 40), weight="600", halo=True))
            y += 22
        for bar in bars:
            parts += _bar(bar, chart.axis, left, inner, y)
            y += _BAR
        y += 6
    parts.append(_text(left + inner / 2, end + 34, chart.axis.title, anchor="middle", fill=_QUIET))
    return _whole(chart, parts, end + 44)


def _bar(bar: Bar, axis: Axis, left: float, inner: float, y: float) -> list[str]:
    long = axis.place(bar.value) * inner
    opacity = ' opacity="0.45"' if bar.faded else ""
    tip = f"<title>{escape(bar.tip)}</title>" if bar.tip else ""
    box = f'<rect x="{left:.1f}" y="{y + 2:.1f}" width="{long:.1f}" height="{_BAR - 5}" fill="{bar.style.colour}"'
    parts = [_text(left - 6, y + 12, fitted(bar.name, _NAMES), anchor="end"), f"<g{opacity}>{box}/>{tip}</g>"]
    end = left + long
    if bar.spread is not None:
        low, high = (left + axis.place(min(value, axis.high)) * inner for value in bar.spread)
        # White around it, since a bar may be black.
        for colour, width in (("#fff", 3.0), (_INK, 1.2)):
            parts.append(_path([(low, y + _BAR / 2 - 0.5), (high, y + _BAR / 2 - 0.5)], colour, width))
        end = max(end, high)
    parts.append(_text(end + 5, y + 12, bar.text, halo=True))
    return parts


def _legend(entries: Sequence[tuple[str, Style]], y: float) -> tuple[list[str], float]:
    """The legend below a plot, in as many lines as it needs, and the y below it."""
    parts, x, y = [], float(_LEFT - 40), y + 10
    for full, style in entries:
        name = fitted(full, WIDTH - _LEFT)
        width = 30 + _width(name) + 12
        if x + width > WIDTH and x > _LEFT - 40:
            x, y = float(_LEFT - 40), y + _ROW
        dashes = "6 4" if style.dashed else None
        parts.append(_path([(x, y), (x + 22, y)], style.colour, 3 if style.wide else 1.8, dashes))
        parts.append(_mark(Mark(0, 0), style, (x + 11, y)))
        parts.append(_text(x + 28, y + 4, name, legend=True))
        x += width
    return parts, y + 12


def _whole(chart: Chart, parts: Sequence[str], height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escape(chart.title)}" font-family="system-ui, sans-serif" font-size="{_FONT}" fill="{_INK}">'
        f'<rect width="{WIDTH}" height="{height:.0f}" fill="#fff"/>{"".join(parts)}</svg>'
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    fill: str | None = None,
    weight: str | None = None,
    halo: bool = False,
    legend: bool = False,
) -> str:
    """Words.

    Args:
        halo: put white around the letters, where lines pass behind them.
        legend: mark them as the name of a line.
    """
    given: dict[str, str | int | None] = {"text-anchor": anchor, "fill": fill, "font-weight": weight}
    given |= {"data-legend": "" if legend else None}
    if halo:
        given |= {"stroke": "#fff", "stroke-width": 3, "paint-order": "stroke"}
    attributes = "".join(f' {name}="{value}"' for name, value in given.items() if value is not None)
    return f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>{escape(text)}</text>'


def _path(
    points: Sequence[tuple[float, float]],
    colour: str,
    width: float,
    dashes: str | None = None,
    opacity: str | None = None,
) -> str:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    more = "".join(
        f' {name}="{value}"' for name, value in (("stroke-dasharray", dashes), ("opacity", opacity)) if value
    )
    return (
        f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="{width}" '
        f'stroke-linejoin="round"{more}/>'
    )


def _polygon(*points: tuple[float, float]) -> str:
    return f'<polygon points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def fitted(text: str, width: float) -> str:
    """The text, or its beginning and its end where it is wider than that."""
    letters = int(width / _LETTER)
    if len(text) <= letters:
        return text
    return f"{text[: letters // 2 - 1]}…{text[len(text) - (letters - letters // 2) :]}"


def _width(text: str) -> float:
    return len(text) * _LETTER

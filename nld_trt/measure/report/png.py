# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Charts drawn as PNG, with matplotlib: for slides, where SVG does not go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nld_trt.measure.report.chart import BarChart, Chart, Line, XyChart, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS: Final = {
    "circle": "o", "square": "s", "diamond": "D", "triangle": "^", "inverted": "v", "cross": "x",
}  # fmt: skip
_FADED: Final = 0.3


def write_png(chart: Chart, path: Path) -> None:
    """Draw the chart into a file."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    height = 1.2 + 0.24 * (len(chart.bars) + len(chart.groups)) if isinstance(chart, BarChart) else 5.2
    figure, axis = plt.subplots(figsize=(7.2, height), layout="constrained")
    if isinstance(chart, BarChart):
        _bars(axis, chart)
    else:
        _xy(axis, chart)
        # Outside, so that it covers no data.
        figure.legend(loc="outside lower center", ncols=3, fontsize="small", frameon=False)
    axis.set_title(chart.title, fontsize="medium", wrap=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _xy(axis: Axes, chart: XyChart) -> None:
    for way, found in (("x", chart.x), ("y", chart.y)):
        if found.logarithmic:
            getattr(axis, f"set_{way}scale")("log")
        getattr(axis, f"set_{way}lim")(found.low, found.high)
        getattr(axis, f"set_{way}ticks")(found.ticks, [number(tick) for tick in found.ticks])
        getattr(axis, f"set_{way}ticks")([], minor=True)
        getattr(axis, f"set_{way}label")(found.title)
    axis.grid(alpha=0.3)
    if chart.diagonal:
        ends = max(chart.x.low, chart.y.low), min(chart.x.high, chart.y.high)
        axis.plot(ends, ends, color="0.5", linestyle="--", linewidth=1)
    if len(chart.frontier) > 1:
        axis.plot(*zip(*chart.frontier, strict=True), color="0.8", linewidth=6, zorder=1)
    for rule in chart.rules:
        axis.axvline(rule.x, color="0.4", linestyle="--", linewidth=1)
        left = chart.x.place(rule.x) > 0.5
        axis.annotate(
            rule.text, (rule.x, chart.y.high), xytext=(-4 if left else 4, -12), textcoords="offset points",
            ha="right" if left else "left", fontsize="small",
        )  # fmt: skip
    for line in chart.lines:
        _line(axis, line)


def _line(axis: Axes, line: Line) -> None:
    style: dict[str, Any] = {"color": line.style.colour, "marker": _MARKERS[line.style.shape]}
    dashes = "--" if line.style.dashed else "-"
    if line.joined:
        axis.plot(
            [mark.x for mark in line.marks], [mark.y for mark in line.marks], color=line.style.colour,
            linestyle=dashes,
            linewidth=2.5 if line.style.wide and not line.quiet else 1.3, alpha=0.45 if line.quiet else 1,
        )  # fmt: skip
    axis.plot([], [], label=line.name, linestyle=dashes if line.joined else "", **style)
    for mark in line.marks:
        alpha = _FADED if mark.faded else 1
        axis.plot([mark.x], [mark.y], alpha=alpha, zorder=3, **style)
        if mark.spread is not None:
            axis.plot([mark.x, mark.x], mark.spread, color=line.style.colour, linewidth=1, alpha=alpha)
        if mark.label:
            axis.annotate(
                mark.label, (mark.x, mark.y), textcoords="offset points", xytext=(5, 5), fontsize="small", alpha=alpha
            )


def _bars(axis: Axes, chart: BarChart) -> None:
    place, ticks, names = 0, [], []
    for title, bars in chart.groups:
        if title:
            axis.text(0, place, f" {title}", va="center", weight="bold", fontsize="small")
            place += 1
        for bar in bars:
            alpha = 0.45 if bar.faded else 1
            axis.barh(place, bar.value, 0.7, color=bar.style.colour, alpha=alpha)
            low, high = bar.spread or (bar.value, bar.value)
            axis.plot((low, high), (place, place), color="0.1", linewidth=1)
            axis.text(max(bar.value, high), place, f" {bar.text}", va="center", fontsize="small")
            ticks.append(place)
            names.append(bar.name)
            place += 1
    axis.set_yticks(ticks, names, fontsize="small")
    axis.invert_yaxis()
    axis.set_xlim(chart.axis.low, chart.axis.high * 1.15)
    axis.set_xlabel(chart.axis.title)
    axis.grid(axis="x", alpha=0.3)
    if chart.mark is not None:
        axis.axvline(chart.mark, color="0.4", linestyle="--", linewidth=1)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The plots of a sweep, drawn from its rows alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nld_trt import names
from nld_trt.decode.figures import TOKENS_PER_FORWARD, TOKENS_PER_SECOND
from nld_trt.measure.sweep.report import series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]

BY_MODE, PARETO, OVER_LOAD = "by_mode.png", "pareto.png", "over_load.png"


def draw(rows: Sequence[Row], folder: Path, title: str) -> list[Path]:
    """Write the plots into ``folder`` and return their paths."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    paths = []
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    _bars(axes[0], rows, "output_tps", f"output {TOKENS_PER_SECOND.header}")
    _bars(axes[1], rows, TOKENS_PER_FORWARD.name, TOKENS_PER_FORWARD.header)
    figure.suptitle(title)
    figure.savefig(folder / BY_MODE, dpi=120)
    paths.append(folder / BY_MODE)

    figure, axis = plt.subplots(figsize=(7, 5), layout="constrained")
    _pareto(axis, rows)
    axis.set_title(title, fontsize="medium")
    figure.savefig(folder / PARETO, dpi=120)
    paths.append(folder / PARETO)
    figure, axis = plt.subplots(figsize=(7, 5), layout="constrained")
    _over_load(axis, rows)
    axis.set_title(title, fontsize="medium")
    figure.savefig(folder / OVER_LOAD, dpi=120)
    paths.append(folder / OVER_LOAD)
    plt.close("all")
    return paths


def _bars(axis: Axes, rows: Sequence[Row], column: str, label: str) -> None:
    """Draw a group of bars per mode and block length, with a bar per concurrency."""
    groups = list(dict.fromkeys(series(row) for row in rows))
    levels = sorted({row["concurrency"] for row in rows})
    width = 0.8 / len(levels)
    for index, level in enumerate(levels):
        values = {series(row): row[column] for row in rows if row["concurrency"] == level}
        places = [place + (index - (len(levels) - 1) / 2) * width for place in range(len(groups))]
        axis.bar(places, [values.get(name) or 0.0 for name in groups], width, label=f"concurrency {level}")
    axis.set_xticks(range(len(groups)), groups, rotation=25, ha="right")
    axis.set_ylabel(label)
    axis.grid(axis="y", alpha=0.3)
    if len(levels) > 1:
        axis.legend()


def _over_load(axis: Axes, rows: Sequence[Row]) -> None:
    """Draw tokens/s over the requests in flight: a line per mode and block length, mode auto above the others."""
    for name in dict.fromkeys(series(row) for row in rows):
        points = sorted((row["concurrency"], row["output_tps"]) for row in rows if series(row) == name)
        levels, totals = zip(*points, strict=True)
        style: dict[str, Any] = {"color": "black", "linewidth": 2.5, "zorder": 3} if name == names.AUTO else {}
        axis.plot(levels, totals, marker="o", label=name, **style)
    axis.set_xscale("log", base=2)
    axis.set_xticks(sorted({row["concurrency"] for row in rows}))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_xlabel("requests in flight")
    axis.set_ylabel(f"output {TOKENS_PER_SECOND.header}, all requests")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend(loc="best")


def _pareto(axis: Axes, rows: Sequence[Row]) -> None:
    """Draw tokens/s/user against total tokens/s: a line per mode and block length, a point per concurrency."""
    for name in dict.fromkeys(series(row) for row in rows):
        points = sorted(
            (row["concurrency"], row["tps_per_user"], row["output_tps"])
            for row in rows
            if series(row) == name and row["tps_per_user"] is not None
        )
        if not points:
            continue
        levels, users, totals = zip(*points, strict=True)
        axis.plot(users, totals, marker="o", label=name)
        for level, user, total in zip(levels, users, totals, strict=True):
            axis.annotate(f"{level}", (user, total), textcoords="offset points", xytext=(4, 4), fontsize="small")
    axis.set_xlabel("output tokens/s/user (1 / mean ITL)")
    axis.set_ylabel("output tokens/s, all users")
    axis.grid(alpha=0.3)
    handles, _ = axis.get_legend_handles_labels()
    if handles:
        axis.legend(title="points: concurrency")

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The pictures of a simulation: throughput over load, and throughput over the time of a trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nld_trt.measure.simulate.run import Simulated
from nld_trt.measure.simulate.study import Row
from nld_trt.names import AUTO

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OVER_LOAD, OVER_TIME = "throughput_over_load.png", "throughput_over_time.png"
_BINS: Final = 60


def draw_over_load(rows: Sequence[Row], folder: Path, title: str) -> Path:
    """Write tokens/s against the number of users, a line for each setting, into ``folder``."""

    def lines(axis: Axes) -> None:
        for name in dict.fromkeys(row.setting for row in rows):
            points = sorted((int(row.load), row.rate) for row in rows if row.setting == name)
            users, rates = zip(*points, strict=True)
            axis.plot(users, rates, marker=".", **_style(name))
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        ticks = sorted({int(row.load) for row in rows})
        axis.set_xticks(ticks, list(map(str, ticks)))
        axis.set_xlabel("users")

    return _draw(lines, folder / OVER_LOAD, title)


def draw_over_time(runs: Mapping[str, Simulated], folder: Path, title: str) -> Path:
    """Write tokens/s against simulated time, a line for each setting, into ``folder``."""
    end = max(run.rounds[-1].end for run in runs.values())
    edges = np.linspace(0.0, end, _BINS + 1)

    def lines(axis: Axes) -> None:
        for name, run in runs.items():
            tokens, _ = np.histogram(
                [each.end for each in run.rounds], edges, weights=[each.tokens for each in run.rounds]
            )
            axis.plot((edges[:-1] + edges[1:]) / 2, tokens / np.diff(edges), **_style(name))
        axis.set_yscale("log")
        axis.set_xlabel("simulated seconds")

    return _draw(lines, folder / OVER_TIME, title)


def _style(name: str) -> dict[str, Any]:
    """The controller lies under the fixed settings, wide, so that one sees which of them it follows."""
    return {"label": name} | ({"color": "black", "linewidth": 5, "alpha": 0.3, "zorder": 1} if name == AUTO else {})


def _draw(lines: Any, path: Path, title: str) -> Path:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 5), layout="constrained")
    lines(axis)
    axis.set_ylabel("output tokens/s, all users")
    axis.set_title(title, fontsize="medium")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path

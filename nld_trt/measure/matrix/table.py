# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Joined results on the terminal, and as plots: one part for each engine and workload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from nld_trt.measure.sweep.report import terminal_table

Row = Mapping[str, Any]

# What the points of one plot share.
_SUBJECT: Final = ("model", "backend", "precision", "device", "workload")


def groups(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """The rows of each engine and workload, with a title in words."""
    found: dict[tuple[Any, str], list[Row]] = {}
    for row in rows:
        key = (row["model_sha256"], ", ".join(str(row[name]) for name in _SUBJECT if row[name] is not None))
        found.setdefault(key, []).append(row)
    return [(title, group) for (_, title), group in found.items()]


def table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return column titles and cells: those of a sweep, with the engine and the workload before each."""
    titles: list[str] = []
    cells: list[list[str]] = []
    for title, group in groups(rows):
        titles, found = terminal_table(group)
        cells += [[title if number == 0 else "", *line] for number, line in enumerate(found)]
    return ["engine, workload", *titles], cells


def draw_each(rows: Sequence[Row], folder: Path) -> list[str]:
    """Draw the plots of every engine and workload into folders of their own; returns the paths below ``folder``."""
    from nld_trt.measure.sweep.plots import draw

    drawn = []
    for number, (title, group) in enumerate(groups(rows), start=1):
        home = folder / "plots" / str(number)
        home.mkdir(parents=True, exist_ok=True)
        drawn += [path.relative_to(folder).as_posix() for path in draw(group, home, title)]
    return drawn

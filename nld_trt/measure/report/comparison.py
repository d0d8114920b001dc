# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The report of two runs side by side."""

from __future__ import annotations

from typing import Final

from nld_trt.measure.report import cells, figures
from nld_trt.measure.report.compare import NO_DIFFERENCE, Comparison, Pair
from nld_trt.measure.report.document import Document, Section
from nld_trt.measure.report.measured import Measurement
from nld_trt.measure.report.sections import origin

RULE: Final = (
    "Two points differ if the ranges of their repeats, from the lowest to the highest tokens/s, have nothing in "
    f"common; else the verdict is “{NO_DIFFERENCE}”."
)
_CHANCE: Final = (
    "If nothing had changed, n and m repeats would still lie apart with probability 2 / C(n + m, n), one point in ten "
    "for three repeats each: more repeats tell more. Repeats follow each other, so that what changes slowly on a "
    "machine is not in the spread; measure the two runs alternately where that matters."
)


def document(comparison: Comparison) -> Document:
    """The report of a comparison."""
    first, second = comparison.first, comparison.second
    points = Section(
        "points",
        "Point by point",
        (
            f"The verdict is about {second.name} beside {first.name}, by tokens/s of all users. {RULE}",
            _CHANCE,
            *_left_out(comparison),
        ),
        (figures.compared(comparison),),
        (cells.compared(comparison),),
    )
    keys = figures.keys(run.name for run in (first, second))
    origins = [origin(run, f"origin-{key}") for run, key in zip((first, second), keys, strict=True)]
    about = f"{_subjects(first.measurements)} against {_subjects(second.measurements)}"
    return Document(
        f"{first.name} and {second.name} compared",
        about,
        (comparison.says,),
        (points, *origins),
        tuple(map(record, comparison.pairs)),
    )


def terminal_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Column titles and cells for the terminal."""
    table = cells.compared(comparison)
    return [*table.columns[:8]], [[cell.text for cell in row[:8]] for row in table.rows]


def record(pair: Pair) -> dict[str, object]:
    """A pair as a flat record."""
    first, second = pair.first, pair.second
    return {
        "mode": first.mode,
        "block_length": first.row["block_length"],
        "concurrency": first.users,
        "first_output_tps": first.rate,
        "first_output_tps_min": first.spread[0],
        "first_output_tps_max": first.spread[1],
        "second_output_tps": second.rate,
        "second_output_tps_min": second.spread[0],
        "second_output_tps_max": second.spread[1],
        "change": round(pair.change, 6),
        "verdict": pair.verdict,
    }


def _left_out(comparison: Comparison) -> list[str]:
    return [
        f"Only {run.name} has {', '.join(f'{each.series} at {each.users}' for each in found)}."
        for run, found in ((comparison.first, comparison.only_first), (comparison.second, comparison.only_second))
        if found
    ]


def _subjects(measurements: tuple[Measurement, ...]) -> str:
    return "; ".join(dict.fromkeys(str(each.subject) for each in measurements))

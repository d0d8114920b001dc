# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Measuring an engine's cost table and showing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nld_trt.cli._output import output
from nld_trt.cli._report import Write, command_line

if TYPE_CHECKING:
    from nld_trt.decode.auto.costs import CostTable
    from nld_trt.decode.engine import Engine


def measure_table(engine: Engine, write: Write) -> None:
    """Measure the table of ``engine`` here, show it, write it with ``write``, and store it beside the engine."""
    from nld_trt.decode.auto.stored import TablePlace
    from nld_trt.measure.cost_table import measure_costs, origin_of

    origin = origin_of(engine.folder, engine.session, command=command_line())
    table = measure_costs(engine.session, origin, progress=output)
    found = table.to_dict()
    write(found, lambda: output.result(found, costs_text(table)))
    path = TablePlace.of(engine.folder, engine.info.backend, gpu=engine.session.device == "gpu").store(table)
    output.note("the engine folder cannot be written: not stored there" if path is None else f"stored in {path}")


def costs_text(table: CostTable) -> str:
    """The points as lines of text, one for each number of rows. A forward that was not timed has no number."""
    seconds = {(point.rows, point.width): point.seconds for point in table.points}
    rows = sorted({count for count, _ in seconds})
    header = "rows " + "".join(f"{width:>4} tokens" for width in table.widths)
    lines = [
        f"{count:4} " + "".join(_milliseconds(seconds.get((count, width))) for width in table.widths) for count in rows
    ]
    of = f"{table.origin.backend} {table.origin.precision}, {table.origin.device}"
    return "\n".join([of, "ms of one forward, by rows and new tokens per row", header, *lines])


def _milliseconds(seconds: float | None) -> str:
    return f"{'-':>11}" if seconds is None else f"{seconds * 1e3:11.3f}"

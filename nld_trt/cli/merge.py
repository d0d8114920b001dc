# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt merge``: the results of several sweeps in one folder."""

from __future__ import annotations

from pathlib import Path

import click

from nld_trt.cli._output import json_option, output
from nld_trt.cli._spelling import output_folder_option
from nld_trt.errors import InputError


@click.command("merge")
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@output_folder_option("Folder for the joined results.")
@json_option
def command(folders: tuple[Path, ...], output_dir: Path) -> None:
    """Join the results of sweeps, of several machines for example, as one sweep's.

    A point is kept once. Results of another version of nld-trt are refused, and so are those of another checkpoint of
    the same name and precision, and two measurements of one point that differ. nld-trt sweep merge is the same.

    \b
    Example:
      nld-trt merge results-h200 results-gb200 -o results
    """
    from nld_trt.measure.matrix.table import table
    from nld_trt.measure.sweep.merge import merge, read_parts
    from nld_trt.measure.sweep.results import results_of

    resolved = [folder.resolve() for folder in folders]
    if output_dir.resolve() in resolved:
        raise InputError(f"{output_dir} is one of the folders that are joined", fix="Choose another folder with -o.")
    if len(set(resolved)) < len(resolved):
        raise InputError("a folder was given twice")
    merged = merge(read_parts(folders))
    if not merged.points:
        raise InputError("none of the folders has a point that was measured")
    with results_of(output_dir):
        merged.write(output_dir)
    output.table(*table(merged.rows), title=f"{len(merged.rows)} points of {len(folders)} folders")
    output.result(
        {"output_dir": str(output_dir), "rows": merged.rows, "failed": dict(merged.failed), "same": merged.same}
    )
    if merged.same:
        output.note(f"{merged.same} points are in several folders, and kept once")
    for label, why in merged.failed.items():
        output.warn(f"point {label} failed when it was measured: {why}")

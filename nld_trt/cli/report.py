# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt report``: a page of what sweeps measured, or of two sweeps side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nld_trt.cli._output import json_option, output
from nld_trt.cli._report import origin
from nld_trt.cli._spelling import Option
from nld_trt.errors import InputError

if TYPE_CHECKING:
    from nld_trt.measure.report.document import Document
    from nld_trt.measure.report.measured import SweepRun


@click.command("report")
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--compare", is_flag=True, help="Compare two folders point by point, with the spread of their repeats.")
@click.option(
    "--plan", "plan_file", metavar="FILE", type=click.Path(path_type=Path), default=None,
    help="A file of nld-trt plan --json: show it against what was measured.",
)  # fmt: skip
@click.option(
    "--scores", "scores_files", metavar="FILE", multiple=True, type=click.Path(path_type=Path),
    help="A file of nld-trt evaluate -o, repeatable: show the accuracy of what was measured.",
)  # fmt: skip
@click.option(
    "-o", "--output", "output_path", cls=Option, aliases=["--output-dir"], type=click.Path(path_type=Path),
    default=None,
    help="A file that ends with .html, .md or .csv, or a folder for all of them and the charts as SVG and PNG. "
    "Default: report.html in DIR; with --compare only the terminal.",
)  # fmt: skip
@click.option("--plots/--no-plots", default=None, help="PNG charts in a folder. Default: when matplotlib is installed.")
@json_option
def command(
    folders: tuple[Path, ...],
    *,
    compare: bool,
    plan_file: Path | None,
    scores_files: tuple[Path, ...],
    output_path: Path | None,
    plots: bool | None,
) -> None:
    """Make a page of what a sweep measured: one HTML file, which needs no network.

    It shows tokens/s over users by mode, and where AR overtakes; the speed of a user against the output of the
    machine; models side by side; speed-ups over AR beside published ones; acceptance; a plan beside what came true; and
    where every number is from. Several folders make one page, also of different models.

    \b
    Examples:
      nld-trt report results
      nld-trt report results-fp8 results-int4 -o both.html
      nld-trt report results --plan plan.json -o report
      nld-trt report results-tiny results-qwen3 --scores tiny.json --scores qwen3.json
      nld-trt report --compare before after -o compare.html
    """
    _check(folders, compare, plan_file, scores_files, plots)
    from nld_trt.measure.report.measured import read_runs
    from nld_trt.measure.report.write import PAGE, check_output, write

    target = output_path or (None if compare else folders[0] / PAGE)
    runs = read_runs(folders)
    if target is not None:
        check_output(target)
    made = origin()
    words = f"{made['date']}: {made['command']}"
    document = _compared(runs, words) if compare else _reported(runs, plan_file, scores_files, words)
    written = []
    if target is not None:
        pictures = find_spec("matplotlib") is not None if plots is None else plots
        with output.stage("writing the report"):
            written = [str(path) for path in write(document, target, pictures=pictures)]
    if output.json:
        output.result({**made, "findings": document.findings, "rows": document.data, "files": written})
    else:
        output.result({}, "\n".join(document.findings))
        if target is not None:
            output.note(f"report: {target}")


def _check(
    folders: Sequence[Path], compare: bool, plan_file: Path | None, scores_files: Sequence[Path], plots: bool | None
) -> None:
    """Refuse what is wrong before anything is read."""
    from nld_trt import optional

    if compare and len(folders) != 2:
        raise InputError(f"--compare takes two folders, and {len(folders)} were given")
    for flag, given in (("--plan", plan_file), ("--scores", scores_files)):
        if compare and given:
            raise InputError(f"{flag} does not go with --compare", fix="Leave one of them out.")
    if plots:
        optional.require("matplotlib", wanted_by="report --plots")


def _reported(runs: Sequence[SweepRun], plan_file: Path | None, scores_files: Sequence[Path], made: str) -> Document:
    from nld_trt.measure.report.plan import check_plan, read_plan
    from nld_trt.measure.report.scores import Scores
    from nld_trt.measure.report.sections import Material, document

    material = Material(runs)
    points = material.measurements
    if plan_file is not None:
        material = replace(material, checks=check_plan(read_plan(plan_file), points))
    material = replace(material, scores=Scores.read(scores_files, points))
    return replace(document(material), made=made)


def _compared(runs: Sequence[SweepRun], made: str) -> Document:
    from nld_trt.measure.report.compare import compare
    from nld_trt.measure.report.comparison import document, terminal_table

    first, second = runs
    found = compare(first, second)
    output.table(*terminal_table(found), title=f"{second.name} beside {first.name}, tokens/s")
    return replace(document(found), made=made)

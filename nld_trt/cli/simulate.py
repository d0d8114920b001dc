# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt simulate``: what choosing the mode by load gives, before anything is served."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nld_trt import names
from nld_trt.cli._options import whole_numbers
from nld_trt.cli._output import json_option, output
from nld_trt.cli._report import origin
from nld_trt.cli._spelling import Option
from nld_trt.errors import InputError

if TYPE_CHECKING:
    from nld_trt.measure.simulate.run import Simulated
    from nld_trt.measure.simulate.study import Row, Study


@click.command("simulate")
@click.option(
    "--table", default=names.INCLUDED_TABLES[0], show_default=True, metavar="NAME|FILE",
    help=f"What forwards take: {', '.join(names.INCLUDED_TABLES)}, or a file of bench loop --table.",
)  # fmt: skip
@click.option(
    "--acceptance", default=names.DEFAULT_WORKLOAD, show_default=True, metavar="NAME|NUMBER|FILE",
    help=f"What drafts are accepted: {', '.join(names.WORKLOADS)}, a mean length at blocks of 32, or a file of counts.",
)  # fmt: skip
@click.option(
    "--concurrency", default=",".join(map(str, names.DEFAULT_SIMULATED_USERS)), show_default=True,
    help="Comma list of users, each of whom sends a request when the one before is answered.",
)  # fmt: skip
@click.option(
    "--trace", default=None, metavar="NAME|FILE",
    help=f"Also simulate arrivals: {', '.join(names.TRACES)}, or a CSV or JSONL file.",
)  # fmt: skip
@click.option(
    "--max-batch-size", type=click.IntRange(min=1), default=names.DEFAULT_SIMULATED_ROWS, show_default=True,
    help="Rows decoded together.",
)  # fmt: skip
@click.option(
    "--max-new-tokens", type=click.IntRange(min=1), default=names.DEFAULT_SIMULATED_TOKENS, show_default=True,
    help="Tokens of every answer of a user.",
)  # fmt: skip
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), default=names.DEFAULT_SIMULATED_SECONDS,
    show_default=True, help="Simulated seconds for each number of users.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the acceptance.")
@click.option(
    "-o", "--output", "output_dir", cls=Option, aliases=["--output-dir"], type=click.Path(path_type=Path), default=None,
    help="Folder for JSON, CSV and plots. Default: the table on the terminal only.",
)  # fmt: skip
@click.option("--plots/--no-plots", default=None, help="Draw PNG plots. Default: when matplotlib is installed.")
@json_option
def command(
    table: str,
    acceptance: str,
    concurrency: str,
    trace: str | None,
    *,
    max_batch_size: int,
    max_new_tokens: int,
    seconds: float,
    seed: int,
    output_dir: Path | None,
    plots: bool | None,
) -> None:
    """Simulate a server under load: the controller of auto against every fixed mode and block length.

    It is the controller that servers use. Rounds take the time of a measured or published table, and accept what a
    published or recorded acceptance gives; prompts are read one after the other.

    \b
    Examples:
      nld-trt simulate
      nld-trt simulate --table published-b200-served --acceptance qa --trace 1-128-1 -o results
    """
    users = whole_numbers("--concurrency", concurrency)
    _check(plots, output_dir, users)
    from nld_trt.measure.simulate import published, report
    from nld_trt.measure.simulate.study import Study
    from nld_trt.measure.simulate.trace import load_of

    study = Study(
        published.cost_table(table), published.acceptance_shape(acceptance), max_rows=max_batch_size, seconds=seconds,
        output_tokens=max_new_tokens, seed=seed,
    )  # fmt: skip
    if trace is not None:
        load_of(trace, max_new_tokens)
    rows = study.over_users(users, output)
    output.table(*report.terminal_table(rows, "users"), title=f"tokens/s, {table}, {acceptance}")
    runs: dict[str, Simulated] = {}
    traced = [] if trace is None else _traced(study, trace, runs)
    found = report.summary(study, [*rows, *traced], origin())
    written = [] if output_dir is None else _write(output_dir, plots, found, rows, runs)
    if output.json:
        output.result({**found, "files": written})
    else:
        output.note("* best fixed setting" + (f"; results in {output_dir}: {', '.join(written)}" if written else ""))


def _check(plots: bool | None, output_dir: Path | None, users: Sequence[int]) -> None:
    """Refuse what is wrong before anything is simulated."""
    from nld_trt import optional

    if min(users) < 1:
        raise InputError(f"--concurrency has {min(users)}; a closed loop has at least 1 user")
    if plots and output_dir is None:
        raise InputError("--plots was given without a folder for them", fix="Add -o DIR.")
    if plots:
        optional.require("matplotlib", wanted_by="simulate --plots")
    if output_dir is not None and output_dir.exists() and not output_dir.is_dir():
        raise InputError(f"the output folder {output_dir} is a file", fix="Choose another folder with -o.")


def _traced(study: Study, trace: str, runs: dict[str, Simulated]) -> list[Row]:
    """Simulate every setting over the arrivals, show them, and put what became of them into ``runs``."""
    from nld_trt.measure.simulate import report
    from nld_trt.measure.simulate.trace import load_of

    rows = []
    with output.stage("simulating the trace"):
        for row, run in study.over_load(trace, lambda: load_of(trace, study.output_tokens)):
            rows.append(row)
            runs[row.setting] = run
    output.table(*report.terminal_table(rows, "trace"), title="tokens/s while something is computed")
    return rows


def _write(
    folder: Path, plots: bool | None, found: dict[str, Any], rows: Sequence[Row], runs: dict[str, Simulated]
) -> list[str]:
    """Write the results, and draw plots if they can be and were not declined; returns the names of the files."""
    from nld_trt.measure.simulate import report

    written = report.write(folder, found)
    if plots or (plots is None and find_spec("matplotlib") is not None):
        from nld_trt.measure.simulate.plots import draw_over_load, draw_over_time

        title = f"{found['table']['engine']}, {found['table']['device']}, simulated"
        with output.stage("drawing plots"):
            written.append(draw_over_load(rows, folder, title))
            if runs:
                written.append(draw_over_time(runs, folder, title))
    return [path.name for path in written]

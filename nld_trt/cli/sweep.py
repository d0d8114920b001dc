# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt sweep``: measure modes, block lengths and batch sizes of one engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nld_trt import names
from nld_trt.cli._options import backend_option, chat_template_option, engine_argument, modes_option, prompts_option
from nld_trt.cli._output import json_option, output
from nld_trt.cli._spelling import output_folder_option
from nld_trt.errors import InputError

if TYPE_CHECKING:
    from nld_trt.measure.sweep.plan import PlannedSweep


@click.command("sweep")
@engine_argument
@prompts_option("JSONL file with prompts, AIPerf's or SPEED-Bench's: real text, not random tokens.")
@output_folder_option("Results folder; an earlier sweep in it is continued.")
@modes_option
@click.option(
    "--block-length", "block_lengths", default=None,
    help="Comma list. Default: the checkpoint's; in quadratic mode no more than the engine was built for.",
)  # fmt: skip
@click.option("--concurrency", default="1", show_default=True, help="Comma list of requests in flight.")
@click.option(
    "--threshold",
    type=float,
    default=names.DEFAULT_THRESHOLDS[names.DIFFUSION],
    show_default=True,
    help="Commit confidence in diffusion.",
)
@click.option(
    "--requests", type=int, default=None,
    help="Requests per repeat; the prompts are reused in order. "
    f"Default: {names.DEFAULT_SWEEP_REQUESTS}, or each conversation of SPEED-Bench once.",
)  # fmt: skip
@click.option("--max-new-tokens", type=int, default=128, show_default=True, help="Limit per request.")
@click.option("--ignore-eos", is_flag=True, help="Generate exactly --max-new-tokens, so that all points do equal work.")
@click.option("--warmup", type=int, default=2, show_default=True, help="Untimed requests before each point.")
@click.option(
    "--repeats", type=int, default=3, show_default=True, help="Timed repeats of each point; rates are their median."
)
@chat_template_option
@click.option("--plots/--no-plots", default=None, help="Draw PNG plots. Default: when matplotlib is installed.")
@click.option("--no-resume", is_flag=True, help="Measure points again that are already in the results folder.")
@click.option("--dry-run", is_flag=True, help="List the points, and stop.")
@backend_option
@json_option
def command(
    engine_dir: Path,
    prompts: Path,
    output_dir: Path,
    *,
    dry_run: bool,
    plots: bool | None,
    no_resume: bool,
    backend: str | None,
    block_lengths: str | None,
    concurrency: str,
    **options: Any,
) -> None:
    """Measure an engine over modes x block lengths x concurrency.

    Every point is written as soon as it ends; the same command continues an interrupted sweep. The timed
    region is prefill, decoding and detokenization; loading and warm-up are outside.

    \b
    Example:
      nld-trt sweep engine --prompts examples/nld-tiny/eval.jsonl -o results --concurrency 1,4,8
    """
    _check(prompts, plots, options)
    from nld_trt.decode.engine import Engine
    from nld_trt.measure.sweep import report
    from nld_trt.measure.sweep.plan import plan_sweep
    from nld_trt.measure.sweep.results import results_of
    from nld_trt.measure.sweep.settings import SweepSettings

    with nullcontext() if dry_run else results_of(output_dir):
        with output.stage("opening engine"):
            engine = Engine.open(engine_dir, backend=backend, chat_template=options["chat_template"], progress=output)
        lengths = None if block_lengths is None else _numbers("--block-length", block_lengths)
        settings = SweepSettings(block_lengths=lengths, concurrency=_numbers("--concurrency", concurrency), **options)
        planned = plan_sweep(engine, prompts, output_dir, settings)
        if dry_run:
            _show_plan(planned)
            return
        rows = planned.run(resume=not no_resume, progress=output)
        # Show the table first: drawing plots can fail, and the measurement must not be lost then.
        output.table(*report.terminal_table(rows), title=planned.title)
        drawn = _draw(plots, rows, planned)
        if output.json:
            found = {"output_dir": str(output_dir), "rows": rows, "left_out": planned.left_out, "plots": drawn}
            output.result(found)
            return
        names = ", ".join(drawn) or "no plots"
        output.note(f"* most tokens/s; results in {output_dir}: summary.csv, summary.json, {names}")


def _check(prompts: Path, plots: bool | None, options: Mapping[str, Any]) -> None:
    """Refuse what is wrong without a look at the engine."""
    from nld_trt import optional

    if not prompts.is_file():
        raise InputError(f"--prompts {prompts} is not a file")
    for name, least in (("requests", 1), ("repeats", 1), ("warmup", 0)):
        if options[name] is not None and options[name] < least:
            raise InputError(f"--{name} is {options[name]}; it must be at least {least}")
    if plots:
        optional.require("matplotlib", wanted_by="sweep --plots")


def _show_plan(planned: PlannedSweep) -> None:
    labels = planned.labels()
    lines = [f"{len(labels)} point{'s' * (len(labels) > 1)}:", *(f"  {label}" for label in labels)]
    output.result({"points": labels, "left_out": planned.left_out}, "\n".join([*lines, *planned.left_out_lines()]))


def _draw(plots: bool | None, rows: Sequence[Mapping[str, Any]], planned: PlannedSweep) -> list[str]:
    """Draw plots if they were asked for, or can be drawn and were not declined; returns the names of the files."""
    if plots is False or (plots is None and find_spec("matplotlib") is None):
        return []
    from nld_trt.measure.sweep.plots import draw

    with output.stage("drawing plots"):
        return [path.name for path in draw(rows, planned.sweep.results.folder, planned.title)]


def _numbers(flag: str, text: str) -> list[int]:
    """Return the whole numbers of a comma list, each once.

    Raises:
        InputError: the text is no such list.
    """
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise InputError(
            f"{flag} is {text!r}; it must be whole numbers with commas between them, such as 1,2,4"
        ) from None

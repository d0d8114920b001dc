# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt sweep``: measure modes, block lengths and concurrency of one engine or server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nld_trt import names
from nld_trt.cli._options import backend_option, chat_template_option, modes_option, prompts_option, whole_numbers
from nld_trt.cli._output import json_option, output
from nld_trt.cli._report import origin
from nld_trt.cli._served import is_address, refuse_other_flags, served_model
from nld_trt.cli._spelling import output_folder_option
from nld_trt.cli._sweep_file import SWEEP_FILE_OPTIONS, needed, sweep_file, sweep_file_options
from nld_trt.errors import InputError, OperationError

if TYPE_CHECKING:
    from nld_trt.measure.sweep.results import Measured
    from nld_trt.measure.sweep.settings import SweepSettings


@click.command("sweep")
@click.argument("target", metavar="[ENGINE_DIR|URL]", required=False)
@prompts_option("JSONL file with prompts, AIPerf's or SPEED-Bench's: real text, not random tokens.", required=False)
@output_folder_option("Results folder; an earlier sweep in it is continued.")
@sweep_file_options
@modes_option(names.SWEPT_VARIANTS)
@click.option(
    "--block-length", "block_lengths", default=None,
    help="Comma list. Default: the checkpoint's; in quadratic mode no more than the engine was built for.",
)  # fmt: skip
@click.option("--concurrency", default="1", show_default=True, help="Comma list of requests in flight.")
@click.option(
    "--request-rate", "request_rates", default=None,
    help="Comma list of requests per second that arrive as a Poisson process, --concurrency in flight at most. "
    "Default: a closed loop.",
)  # fmt: skip
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
@click.option(
    "--requests-per-user", type=int, default=None,
    help="At least so many requests for each one in flight. Default: --requests at every concurrency.",
)  # fmt: skip
@click.option("--max-new-tokens", type=int, default=128, show_default=True, help="Limit per request.")
@click.option("--ignore-eos", is_flag=True, help="Generate exactly --max-new-tokens, so that all points do equal work.")
@click.option("--warmup", type=int, default=2, show_default=True, help="Untimed requests before each point.")
@click.option(
    "--repeats", type=int, default=3, show_default=True, help="Timed repeats of each point; rates are their median."
)
@click.option(
    "--scripted-acceptance", metavar="NAME|NUMBER|FILE", default=None,
    help=f"Of an engine of random weights: have drafts accepted by {', '.join(names.WORKLOADS)}, by a mean length at "
    "blocks of 32 or by a file of counts. Needs --ignore-eos; the results say so.",
)  # fmt: skip
@chat_template_option
@click.option("--workload", "name", default=None, help="Name of the workload in the results. Default: the prompts'.")
@click.option("--plots/--no-plots", default=None, help="Draw PNG plots. Default: when matplotlib is installed.")
@click.option("--no-resume", is_flag=True, help="Measure points again that are already in the results folder.")
@click.option("--dry-run", is_flag=True, help="List the points, and stop.")
@backend_option
@click.option("--model-name", default=None, help="Of a server: the model to measure. Default: its only one.")
@click.option(
    "--num-gpus", type=int, default=None, help="Of a server: how many GPUs serve the model, for tokens/s/GPU."
)
@click.option(
    "--aiperf", type=click.Path(path_type=Path), default=None,
    help="Of a server: the program aiperf that sends the requests. Default: the one on PATH.",
)  # fmt: skip
@json_option
def command(
    target: str | None,
    prompts: Path | None,
    output_dir: Path,
    *,
    plots: bool | None,
    **options: Any,
) -> None:
    """Measure an engine or a server over modes x block lengths x concurrency, or all that a sweep file asks for.

    Every point is written as soon as it ends; the same command continues an interrupted sweep. Of an engine, the
    timed region is prefill, decoding and detokenization; loading and warm-up are outside. A server is measured by
    AIPerf, which is a program of its own and sees requests as a client does. The URL is that of an OpenAI-compatible
    server, or of a Triton server with a model of nld-trt. With --config, engines are built from models as far as they
    are missing, for each platform and precision, and the results of all are joined.

    \b
    Examples:
      nld-trt sweep engine --prompts examples/nld-tiny/eval.jsonl -o results --concurrency 1,4,8
      nld-trt sweep http://localhost:9000 --prompts prompts.jsonl -o results --modes ar,linear --concurrency 1,4
      nld-trt sweep localhost:8001 --prompts qualitative.jsonl -o results --modes linear
      nld-trt sweep --config sweeps/dgx-spark.yaml -o results
      nld-trt sweep --config sweeps/h200.yaml -o results --emit slurm
    """
    context = click.get_current_context()
    of_file = {name: options.pop(name) for name in SWEEP_FILE_OPTIONS}
    if of_file["config_file"] is not None:
        sweep_file(context, output_dir, plots=plots, options=options, **of_file)
        return
    target, prompts = needed(context, target, prompts)
    _check(prompts, plots, options)
    refuse_other_flags(target, options)
    (_sweep_server if is_address(target) else _sweep_engine)(target, prompts, output_dir, plots, options)


def _sweep_engine(target: str, prompts: Path, folder: Path, plots: bool | None, options: Mapping[str, Any]) -> None:
    from nld_trt.decode.engine import Engine
    from nld_trt.measure.sweep.plan import plan_sweep
    from nld_trt.measure.sweep.results import results_of

    dry_run = options["dry_run"]
    with nullcontext() if dry_run else results_of(folder):
        with output.stage("opening engine"):
            engine = Engine.open(
                Path(target), backend=options["backend"], chat_template=options["chat_template"], progress=output
            )
        planned = plan_sweep(engine, prompts, folder, _settings(options))
        planned = replace(planned, facts={**planned.facts, **origin()})
        if dry_run:
            _show_plan(planned.sweep.results.labels(), planned.left_out, planned.left_out_lines())
            return
        measured = planned.run(resume=not options["no_resume"], progress=output)
        _show_measured(measured, folder, planned.title, plots, {"left_out": planned.left_out})
    _raise_failed(measured, len(planned.sweep.results.points))


def _sweep_server(target: str, prompts: Path, folder: Path, plots: bool | None, options: Mapping[str, Any]) -> None:
    from nld_trt.measure.aiperf.program import AiPerf
    from nld_trt.measure.aiperf.sweep import plan_served_sweep
    from nld_trt.measure.sweep.results import results_of

    aiperf = AiPerf.find(options["aiperf"])
    dry_run = options["dry_run"]
    with nullcontext() if dry_run else results_of(folder), served_model(target, options["model_name"]) as served:
        planned = plan_served_sweep(
            served.endpoint, served.model, aiperf, prompts, folder, _settings(options),
            server=served.words, gpus=options["num_gpus"],
        )  # fmt: skip
        if dry_run:
            _show_plan(planned.results.labels(), planned.left_out, planned.left_out_lines())
            return
        measured = planned.run(resume=not options["no_resume"], progress=output)
        report = _report_categories(measured, folder)
        _show_measured(measured, folder, planned.title, plots, {"left_out": planned.left_out, **report})
    _raise_failed(measured, len(planned.results.points))


def _settings(options: Mapping[str, Any]) -> SweepSettings:
    from nld_trt.measure.sweep.script import read_script
    from nld_trt.measure.sweep.settings import SweepSettings, request_rates

    lengths, rates = options["block_lengths"], options["request_rates"]
    same = (
        "name",
        "modes",
        "threshold",
        "requests",
        "max_new_tokens",
        "ignore_eos",
        "warmup",
        "repeats",
        "chat_template",
        "requests_per_user",
    )
    return SweepSettings(
        block_lengths=None if lengths is None else whole_numbers("--block-length", lengths),
        concurrency=whole_numbers("--concurrency", options["concurrency"]),
        request_rates=None if rates is None else request_rates(rates),
        script=None if options["scripted_acceptance"] is None else read_script(options["scripted_acceptance"]),
        **{name: options[name] for name in same},
    )


def _check(prompts: Path, plots: bool | None, options: Mapping[str, Any]) -> None:
    """Refuse what is wrong without a look at the engine."""
    from nld_trt import optional

    if not prompts.is_file():
        raise InputError(f"--prompts {prompts} is not a file")
    for name, least in (("requests", 1), ("requests_per_user", 1), ("repeats", 1), ("warmup", 0)):
        if options[name] is not None and options[name] < least:
            raise InputError(f"--{name.replace('_', '-')} is {options[name]}; it must be at least {least}")
    if plots:
        optional.require("matplotlib", wanted_by="sweep --plots")


def _show_plan(labels: Sequence[str], left_out: Mapping[str, str], left_out_lines: Sequence[str]) -> None:
    lines = [f"{len(labels)} point{'s' * (len(labels) > 1)}:", *(f"  {label}" for label in labels)]
    output.result({"points": labels, "left_out": left_out}, "\n".join([*lines, *left_out_lines]))


def _show_measured(measured: Measured, folder: Path, title: str, plots: bool | None, more: Mapping[str, Any]) -> None:
    """Print what was measured, if anything was."""
    found = {**more, "failed": measured.failed}
    if measured.points:
        _show(measured.rows, folder, title, plots, found)
    elif output.json:
        output.result({"output_dir": str(folder), "rows": [], **found})


def _raise_failed(measured: Measured, points: int) -> None:
    """Name the points that failed, which have not ended the sweep.

    Raises:
        OperationError: there are some.
    """
    if measured.failed:
        count = f"{len(measured.failed)} of {points} points failed"
        raise OperationError(count, details=[f"{label}: {why}" for label, why in measured.failed.items()])


def _show(
    rows: Sequence[Mapping[str, Any]], folder: Path, title: str, plots: bool | None, more: Mapping[str, Any]
) -> None:
    """Print the rows, and draw them if that was asked for, or can be done and was not declined."""
    from nld_trt.measure.sweep import report

    # Show the table first: drawing plots can fail, and the measurement must not be lost then.
    output.table(*report.terminal_table(rows), title=title)
    drawn = []
    if plots or (plots is None and find_spec("matplotlib") is not None):
        from nld_trt.measure.sweep.plots import draw

        with output.stage("drawing plots"):
            drawn = [path.name for path in draw(rows, folder, title)]
    if output.json:
        output.result({"output_dir": str(folder), "rows": rows, **more, "plots": drawn})
        return
    names = ", ".join(drawn) or "no plots"
    output.note(f"* most tokens/s; results in {folder}: summary.csv, summary.json, {names}")


def _report_categories(measured: Measured, folder: Path) -> dict[str, Any]:
    """Write and print SPEED-Bench's report, if there are categories; returns it for --json."""
    from nld_trt.measure.aiperf.categories import category_rows, category_table, write_categories

    rows = category_rows(measured.points)
    if not rows:
        return {}
    written = write_categories(rows, folder)
    output.table(*category_table(rows), title=f"SPEED-Bench: acceptance length by category ({written.name})")
    return {"categories": rows}

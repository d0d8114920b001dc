# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A sweep by a sweep file: run here, point by point, or written for a scheduler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from nld_trt.cli._options import Command
from nld_trt.cli._output import output
from nld_trt.errors import InputError

if TYPE_CHECKING:
    from nld_trt.measure.matrix.emit_options import EmitOptions
    from nld_trt.measure.matrix.run import Found, Matrix

SWEEP_FILE_OPTIONS: Final = ("config_file", "emit", "emit_options", "step")
EMITTERS: Final = ("local", "slurm", "kubernetes")
# What a sweep of a file takes; everything else is in the file.
_KEPT: Final = (*SWEEP_FILE_OPTIONS, "output_dir", "no_resume", "dry_run", "aiperf", "plots")
_BUILD, _COLLECT = "build", "collect"
# Of --emit local.
_WORKERS: Final = "workers"


def sweep_file_options(command: Command) -> Command:
    """The options of a sweep by a file."""
    for option in reversed(
        (
            click.option(
                "-c", "--config", "config_file", type=click.Path(path_type=Path), default=None,
                help="Sweep file (YAML): models, platforms, precisions, modes, users and workloads, "
                "in the place of flags.",
            ),
            click.option(
                "--emit", type=click.Choice(EMITTERS), default=None,
                help="With --config: run each point in a process of its own, with a worker for each GPU (local), or "
                "write jobs that do so for a scheduler.",
            ),
            click.option(
                "--option", "emit_options", multiple=True, metavar="[PLATFORM.]KEY=VALUE",
                help="Of --emit, repeatable. slurm: any long option of sbatch; kubernetes: claim, image and others; "
                "local: workers.",
            ),
            click.option(
                "--step", default=None, metavar="build|NUMBER|collect",
                help="With --config, one part of the work, as emitted jobs run it: build what is missing "
                "(build-PLATFORM: for one platform), measure one point, or join the results.",
            ),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def needed(context: click.Context, target: str | None, prompts: Path | None) -> tuple[str, Path]:
    """Return what a sweep without a file cannot do without.

    Raises:
        UsageError: one is missing, or a flag goes with a file.
    """
    given = [name for name in SWEEP_FILE_OPTIONS if _is_given(context, name)]
    if given:
        raise click.UsageError(f"{_flag(context, given[0])} goes with --config FILE", context)
    if target is None:
        raise click.UsageError("give an ENGINE_DIR or a URL, or a sweep file by --config", context)
    if prompts is None:
        raise click.UsageError("Missing option '--prompts'.", context)
    return target, prompts


def sweep_file(
    context: click.Context,
    folder: Path,
    *,
    config_file: Path,
    emit: str | None,
    emit_options: Sequence[str],
    step: str | None,
    plots: bool | None,
    options: Mapping[str, Any],
) -> None:
    """Do what the flags say with the sweep file."""
    from nld_trt.measure.matrix.emit_options import EmitOptions
    from nld_trt.measure.matrix.run import Matrix
    from nld_trt.measure.matrix.sweep_file import SweepFile

    _refuse_flags(context, config_file)
    if step is not None and emit is not None:
        raise click.UsageError("--step and --emit ask for different things; give one of them", context)
    if emit_options and emit is None:
        raise click.UsageError("--option goes with --emit", context)
    matrix = Matrix(SweepFile.read(config_file), folder, options["aiperf"])
    chosen, resume = EmitOptions.parse(emit_options), not options["no_resume"]
    if options["dry_run"]:
        _show_plan(matrix)
    elif step is not None:
        _run_step(matrix, step, resume)
    elif emit in (None, EMITTERS[0]):
        _run_here(matrix, emit, chosen, resume, plots)
    else:
        _write(matrix, emit, chosen, resume)


def _run_here(matrix: Matrix, emit: str | None, chosen: EmitOptions, resume: bool, plots: bool | None) -> None:
    from nld_trt.measure.matrix.workers import run_workers
    from nld_trt.measure.sweep.results import results_of

    with results_of(matrix.folder):
        if emit is None:
            found = matrix.run(resume=resume, progress=output)
        else:
            chosen.check((_WORKERS,), emit)
            found = run_workers(matrix, _workers(chosen), resume=resume, progress=output)
        show_found(found, matrix.folder, plots)
    _raise_failed(found, len(matrix.tasks))


def _run_step(matrix: Matrix, step: str, resume: bool) -> None:
    """Build, measure one point or join, as an emitted job does."""
    from nld_trt.errors import OperationError
    from nld_trt.measure.sweep.results import results_of

    kind, _, platform = step.partition("-")
    if step == _COLLECT:
        with results_of(matrix.folder):
            found = matrix.collect()
            show_found(found, matrix.folder, None)
        _raise_failed(found, len(matrix.tasks))
    elif kind == _BUILD and (not platform or platform in matrix.platforms):
        matrix.prepare()
        failed = matrix.build(matrix.engines_on(platform or None), output)
        if failed:
            raise OperationError(
                f"{len(failed)} engines were not built", details=[f"{name}: {why}" for name, why in failed.items()]
            )
        output.result({"engines": [str(engine.folder) for engine in matrix.engines_on(platform or None)]}, "built")
    elif step.isdecimal():
        why = matrix.run_task(int(step), resume=resume)
        label = matrix.tasks[int(step)].label
        if why is not None:
            raise OperationError(f"point {step} ({label}) failed: {why}")
        output.result({"point": int(step), "label": label}, f"measured point {step}: {label}")
    else:
        raise InputError(f"--step is {step!r}; it must be build, build-PLATFORM, the number of a point, or collect")


def _write(matrix: Matrix, emit: str, chosen: EmitOptions, resume: bool) -> None:
    from nld_trt.measure.matrix.kubernetes import emit_kubernetes
    from nld_trt.measure.matrix.slurm import emit_slurm

    emitter = dict(zip(EMITTERS[1:], (emit_slurm, emit_kubernetes), strict=True))[emit]
    written = [str(path) for path in emitter(matrix, chosen, resume=resume)]
    output.result(
        {"files": written, "points": [task.label for task in matrix.tasks]},
        "\n".join([f"{len(matrix.tasks)} point{'s' * (len(matrix.tasks) > 1)}:", *(f"  {path}" for path in written)]),
    )
    output.note(f"submit them: {written[0]}")


def show_found(found: Found, folder: Path, plots: bool | None) -> None:
    """Print joined results, and draw them."""
    from nld_trt.measure.matrix.table import draw_each, table

    rows = found.merged.rows
    more = {"left_out": dict(found.left_out), "failed": dict(found.failed)}
    if rows:
        output.table(*table(rows), title=f"{len(rows)} point{'s' * (len(rows) > 1)}")
    drawn = draw_each(rows, folder) if plots else []
    if output.json:
        output.result({"output_dir": str(folder), "rows": rows, **more, "plots": drawn})
    elif rows:
        output.note(f"* most tokens/s of its engine; results in {folder}: summary.csv, summary.json")


def _show_plan(matrix: Matrix) -> None:
    left_out = {engine.name: unfit for engine in matrix.engines if (unfit := engine.unfit) is not None}
    steps = [step for engine in matrix.engines for step in engine.steps if not step.is_done]
    commands = [f"nld-trt {' '.join(step.arguments)}" for step in dict.fromkeys(steps)]
    labels = [task.label for task in matrix.tasks]
    lines = [
        f"{len(labels)} point{'s' * (len(labels) > 1)}:",
        *(f"  {number} {label}" for number, label in enumerate(labels)),
    ]
    lines += ["to build:", *(f"  {command}" for command in commands)] if commands else []
    lines += ["not on this machine:", *(f"  {name}: {why}" for name, why in left_out.items())] if left_out else []
    output.result({"points": labels, "build": commands, "left_out": left_out}, "\n".join(lines))


def _raise_failed(found: Found, points: int) -> None:
    from nld_trt.measure.matrix.run import raise_failed

    raise_failed(found, points)


def _workers(chosen: EmitOptions) -> int | None:
    given = chosen.of(None).get(_WORKERS)
    if given is None:
        return None
    if not given.isdecimal() or int(given) < 1:
        raise InputError(f"--option {_WORKERS}={given} must be a whole number of at least 1")
    return int(given)


def _refuse_flags(context: click.Context, config_file: Path) -> None:
    """Refuse what the sweep file says."""
    for name in context.params:
        if name not in _KEPT and _is_given(context, name):
            raise click.UsageError(
                f"{_flag(context, name)} was given, and a sweep file: {config_file} has the settings of its sweep",
                context,
            )


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) not in (None, click.core.ParameterSource.DEFAULT)


def _flag(context: click.Context, name: str) -> str:
    for parameter in context.command.params:
        if parameter.name == name:
            return parameter.opts[0] if isinstance(parameter, click.Option) else str(parameter.metavar)
    return name

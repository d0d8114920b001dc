# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt bench``: what parts of an engine cost on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nld_trt.cli._costs import measure_table
from nld_trt.cli._kernels import kernels_text, resources_text
from nld_trt.cli._options import backend_option, engine_argument
from nld_trt.cli._output import json_option, output
from nld_trt.cli._report import origin, writing
from nld_trt.cli._spelling import output_file_option
from nld_trt.errors import InputError

if TYPE_CHECKING:
    from nld_trt.measure.loop_times import LoopTimes


@click.group("bench")
def command() -> None:
    """Measure parts of an engine on this machine, against what its hardware allows.

    \b
    Examples:
      nld-trt bench kernels
      nld-trt bench loop engine
    """


@command.command("kernels")
@output_file_option("Write the report as JSON.")
@click.option("--check-only", is_flag=True, help="Compare results with the definition and time nothing.")
@click.option("--compile-only", is_flag=True, help="Compile, and show what each kernel takes. Needs NVRTC, and no GPU.")
@click.option(
    "--compute-capability", "capabilities", multiple=True, metavar="X.Y",
    help="GPU to compile for with --compile-only. Repeatable. Default: every one that a TensorRT engine can run on.",
)  # fmt: skip
@json_option
def kernels(output_file: Path | None, check_only: bool, compile_only: bool, capabilities: tuple[str, ...]) -> None:
    """Check and time the CUDA kernels of the decode operators.

    Needs an NVIDIA GPU, its driver and NVRTC; neither TensorRT nor PyTorch. Nothing is timed unless every result is
    right. The floor is the time to read the logits at the largest bandwidth that a copy or a read reaches on this GPU.
    Says which of the targets in docs/hardware.md are met.

    \b
    Examples:
      nld-trt bench kernels
      nld-trt bench kernels -o kernels.json
      nld-trt bench kernels --compile-only --compute-capability 9.0
    """
    from nld_trt.errors import OperationError
    from nld_trt.measure.kernels import report as kernels_report

    if check_only and compile_only:
        raise InputError("--check-only and --compile-only are different things", fix="Leave one of them out.")
    if capabilities and not compile_only:
        raise InputError(
            "--compute-capability was given without --compile-only, and kernels are checked and timed on the GPU here",
            fix="Add --compile-only, or leave --compute-capability out.",
        )
    with writing(output_file) as write:
        if compile_only:
            resources = {**origin(), **kernels_report.report_resources(capabilities, output)}
            write(resources, lambda: output.result(resources, resources_text(resources)))
            return
        gpu = kernels_report.first_gpu()
        found = {**origin(), **kernels_report.report_kernels(gpu, check_only=check_only, progress=output)}
        write(found, lambda: None if found["wrong"] else output.result(found, kernels_text(found)))
    if found["wrong"]:
        raise OperationError(f"the kernels are wrong on {gpu.name}", details=found["wrong"][:20])


@command.command("loop")
@engine_argument
@click.option("--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Rows decoded together.")
@click.option("--context", type=click.IntRange(min=1), default=128, show_default=True, help="Cached tokens per row.")
@click.option("--block-length", type=click.IntRange(min=2), default=None, help="Default: the checkpoint's.")
@click.option(
    "--repeats",
    type=click.IntRange(min=3),
    default=15,
    show_default=True,
    help="Timed repetitions of each forward; the report has their medians.",
)
@click.option(
    "--table", is_flag=True,
    help="Time forwards over rows and block lengths instead, and store the times beside the engine, for auto.",
)  # fmt: skip
@output_file_option("Write the report as JSON.")
@backend_option
@json_option
def loop(
    engine_dir: Path, batch_size: int, *, table: bool, output_file: Path | None, backend: str | None, **settings: Any
) -> None:
    """Time forwards and the decode loop, against two one-token forwards per round.

    Two forwards can cost no less than two one-token forwards, which read every weight once each. The ideal fraction is
    that time over the time of a round of linear self-speculation. On a CPU, where a block costs more than a token, it
    says how far from memory-bound the machine is.

    \b
    Examples:
      nld-trt bench loop engine
      nld-trt bench loop engine --batch-size 4 --context 1024 -o loop.json
      nld-trt bench loop engine --table
    """
    if table:
        _refuse_settings({"batch_size": batch_size, **settings})
    from nld_trt.decode.engine import Engine
    from nld_trt.measure.loop_report import report_loop

    with writing(output_file) as write:
        with output.stage("opening engine"):
            engine = Engine.open(engine_dir, backend=backend, progress=output)
        if table:
            measure_table(engine, write)
            return
        found = report_loop(engine, rows=batch_size, **settings, progress=output)
        report = {**origin(), **found.to_dict()}
        write(report, lambda: output.result(report, loop_text(report, found.times)))


def _refuse_settings(settings: Mapping[str, Any]) -> None:
    """Refuse settings of one timing beside --table, which times all rows and block lengths that the engine has."""
    defaults = {parameter.name: parameter.default for parameter in loop.params}
    given = [f"--{name.replace('_', '-')}" for name, value in settings.items() if value != defaults[name]]
    if given:
        raise InputError(
            f"{', '.join(given)} and --table are different things: a table is of all rows and block lengths",
            fix="Leave one of them out.",
        )


def loop_text(report: dict[str, Any], times: LoopTimes) -> str:
    """Return the times as lines of text."""
    round_note = "" if times.gaps >= 0 else ": its forwards took longer when timed by themselves"
    lines = [
        f"{report['model']}, {report['backend']} {report['precision']}, {report['device']}",
        f"batch {times.rows}, {times.context} cached tokens per row",
        f"one-token forward      {times.one_token * 1e3:9.3f} ms",
        f"draft forward          {times.draft * 1e3:9.3f} ms  (block of {times.block_length})",
        f"verify forward         {times.verify * 1e3:9.3f} ms  ({report['block_over_token']:.2f} x one token)",
        f"linear round           {times.round * 1e3:9.3f} ms  (gaps {times.gaps * 1e3:.3f} ms{round_note})",
        f"AR step                {times.token_round * 1e3:9.3f} ms",
        f"host outside engine    {times.host_share:9.1%} of a round",
        f"ideal fraction         {times.ideal_fraction:9.3f}",
    ]
    return "\n".join(lines)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt bench``: what parts of an engine cost on this machine."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nld_trt.cli._kernels import kernels_report, resources_report, resources_text, times_text
from nld_trt.cli._options import backend_option, engine_argument
from nld_trt.cli._output import json_option, output
from nld_trt.cli._report import origin, writing

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
@click.option("-o", "--output-file", type=click.Path(path_type=Path), default=None, help="Write the report as JSON.")
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
    from nld_trt.engine.trt.kernels import image
    from nld_trt.errors import InputError, OperationError
    from nld_trt.machine.gpu import present_gpus

    if check_only and compile_only:
        raise InputError("--check-only and --compile-only are different things", fix="Leave one of them out.")
    if capabilities and not compile_only:
        raise InputError(
            "--compute-capability was given without --compile-only, and kernels are checked and timed on the GPU here",
            fix="Add --compile-only, or leave --compute-capability out.",
        )
    with writing(output_file) as write:
        if compile_only:
            report = resources_report(capabilities or image.CAPABILITIES)
            write(report, lambda: output.result(report, resources_text(report)))
            return
        gpus = present_gpus()
        if not gpus:
            raise InputError(
                "nld-trt bench kernels needs an NVIDIA GPU with its driver, and this machine has none",
                fix=f"Run it on a machine with a GPU of compute capability {', '.join(image.CAPABILITIES)}, and check "
                "with nvidia-smi; --compile-only needs none.",
            )
        report = kernels_report(gpus[0], check_only)
        write(report, lambda: None if report["wrong"] else _show_kernels(report))
    if report["wrong"]:
        raise OperationError(f"the kernels are wrong on {gpus[0].name}", details=report["wrong"][:20])


def _show_kernels(report: dict[str, Any]) -> None:
    lines = [f"{report['device']}: every result is right"]
    if "timed" in report:
        lines += times_text(report)
    output.result(report, "\n".join(lines))


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
@click.option("-o", "--output-file", type=click.Path(path_type=Path), default=None, help="Write the report as JSON.")
@backend_option
@json_option
def loop(
    engine_dir: Path,
    batch_size: int,
    context: int,
    block_length: int | None,
    repeats: int,
    output_file: Path | None,
    backend: str | None,
) -> None:
    """Time forwards and the decode loop, against two one-token forwards per round.

    Two forwards can cost no less than two one-token forwards, which read every weight once each. The ideal fraction is
    that time over the time of a round of linear self-speculation. On a CPU, where a block costs more than a token, it
    says how far from memory-bound the machine is.

    \b
    Examples:
      nld-trt bench loop engine
      nld-trt bench loop engine --batch-size 4 --context 1024 -o loop.json
    """
    import nld_trt
    from nld_trt.decode.engine import Engine
    from nld_trt.engine.backend import BACKENDS
    from nld_trt.machine import environment
    from nld_trt.machine.clocks import clocks
    from nld_trt.measure.loop_times import measure_loop

    with writing(output_file) as write:
        with output.stage("opening engine"):
            engine = Engine.open(engine_dir, backend=backend)
        info = engine.info
        on_gpu = BACKENDS[info.backend].device == "gpu"
        facts = environment.facts()
        device, _ = environment.device_of(facts, gpu=on_gpu)
        before = clocks(gpu=on_gpu)
        with output.stage("timing"):
            times = measure_loop(
                engine.session,
                rows=batch_size,
                context=context,
                block_length=info.default_block_length if block_length is None else block_length,
                repeats=repeats,
            )
        report = {
            **origin(),
            "model": engine.folder.manifest.model["name"],
            "backend": info.backend,
            "precision": info.precision,
            "device": device,
            "cpu": facts["cpu"],
            "cpu_cores": facts["cpu_cores"],
            "versions": {
                "nld-trt": nld_trt.__version__,
                "python": platform.python_version(),
                **engine.folder.manifest.backends[info.backend].tools,
            },
            "clocks_before": before,
            "clocks_after": clocks(gpu=on_gpu),
            **times.to_dict(),
        }
        write(report, lambda: output.result(report, loop_text(report, times)))


def loop_text(report: dict[str, Any], times: LoopTimes) -> str:
    """The lines for the terminal."""
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

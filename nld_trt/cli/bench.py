# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt bench``: what parts of an engine cost on this machine."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nld_trt.cli._options import backend_option, engine_argument
from nld_trt.cli._output import json_option, output

if TYPE_CHECKING:
    from nld_trt.engine.gpu import Gpu


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
@json_option
def kernels(output_file: Path | None, check_only: bool) -> None:
    """Check and time the CUDA kernels of the decode operators.

    Needs an NVIDIA GPU, its driver and NVRTC; neither TensorRT nor PyTorch. Nothing is timed unless every result is
    right. The floor is the time to read the logits at the largest bandwidth that a copy or a read reaches on this GPU.
    Says which of the targets in docs/hardware.md are met.

    \b
    Examples:
      nld-trt bench kernels
      nld-trt bench kernels -o kernels.json
    """
    from nld_trt.engine.gpu import present_gpus
    from nld_trt.engine.kernels import targets
    from nld_trt.errors import InputError, OperationError

    with _writing(output_file) as write:
        gpus = present_gpus()
        if not gpus:
            raise InputError(
                "nld-trt bench kernels needs an NVIDIA GPU with its driver, and this machine has none",
                fix="Run it on a machine with one of the GPUs in docs/hardware.md; check with nvidia-smi.",
            )
        report = _kernels_report(gpus[0], check_only)
        write(report)
    if report["wrong"]:
        raise OperationError(f"the kernels are wrong on {gpus[0].name}", details=report["wrong"][:20])
    lines = [f"{report['device']}: every result is right"]
    if "timed" in report:
        lines += [*_rates(report), *_times(report), *map(str, targets.verdicts(report["timed"]))]
    output.result(report, "\n".join(lines))


def _kernels_report(gpu: Gpu, check_only: bool) -> dict[str, Any]:
    """What the kernels do on ``gpu``, and, if that is right and wanted, in what time."""
    import nld_trt
    from nld_trt.engine.kernels import bandwidth, check, image, measure, targets
    from nld_trt.engine.kernels.driver import Driver, Kernels
    from nld_trt.engine.kernels.tensors import step

    with output.stage(f"compiling for {gpu.compute_capability}"):
        compiled = image.compile_kernels(gpu.compute_capability)
        compiled_bandwidth = bandwidth.compile_bandwidth(gpu.compute_capability)
    driver = Driver()
    made = Kernels(driver, compiled)
    with output.stage("checking against the definition"):
        wrong = check.problems(lambda values, logit_type: step(made, values, logit_type))
    report: dict[str, Any] = {
        **_origin(),
        "device": f"{gpu.name} ({gpu.compute_capability})",
        "versions": {
            "nld-trt": nld_trt.__version__,
            "python": platform.python_version(),
            "cuda driver": driver.version,
            "compiler": compiled.compiler,
        },
        "resources": {name: vars(found) for name, found in compiled.resources.items()},
        "wrong": wrong,
    }
    if not wrong and not check_only:
        with output.stage("timing"), bandwidth.Memory.on_device(driver, compiled_bandwidth) as memory:
            report["clocks_before"] = memory.clocks()
            rates = memory.bandwidth()
            report["gigabytes_per_second"] = asdict(rates)
            report["timed"] = {
                targets.written(target.shape): measure.timings(made, target.shape, rates) for target in targets.TARGETS
            }
            report["clocks_after"] = memory.clocks()
        report["targets"] = [asdict(verdict) for verdict in targets.verdicts(report["timed"])]
    return report


@command.command("loop")
@engine_argument
@click.option("--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Rows decoded together.")
@click.option("--context", type=click.IntRange(min=1), default=128, show_default=True, help="Cached tokens per row.")
@click.option("--block-length", type=click.IntRange(min=2), default=None, help="Default: the checkpoint's.")
@click.option(
    "--repeats", type=click.IntRange(min=3), default=15, show_default=True, help="Of which medians are taken."
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
    from nld_trt import environment
    from nld_trt.engine.folder import EngineFolder
    from nld_trt.sweep.clocks import clocks
    from nld_trt.sweep.loop_times import measure_loop

    with _writing(output_file) as write:
        with output.stage("opening engine"):
            folder = EngineFolder.open(engine_dir)
            session = folder.open_session(backend)
        info = session.info
        facts = environment.facts()
        device, _ = environment.device_of(facts, info.backend)
        before = clocks(info.backend)
        with output.stage("timing"):
            times = measure_loop(
                session,
                rows=batch_size,
                context=context,
                block_length=info.default_block_length if block_length is None else block_length,
                repeats=repeats,
            )
        report = {
            **_origin(),
            "model": folder.manifest.model["name"],
            "backend": info.backend,
            "precision": info.precision,
            "device": device,
            "cpu": facts["cpu"],
            "cpu_cores": facts["cpu_cores"],
            "versions": {
                "nld-trt": nld_trt.__version__,
                "python": platform.python_version(),
                **folder.manifest.backends[info.backend].tools,
            },
            "clocks_before": before,
            "clocks_after": clocks(info.backend),
            **times.to_dict(),
        }
        write(report)
    round_note = "" if times.gaps >= 0 else ": its forwards took longer when timed by themselves"
    lines = [
        f"{report['model']}, {info.backend} {info.precision}, {device}",
        f"batch {times.rows}, {times.context} cached tokens per row",
        f"one-token forward      {times.one_token * 1e3:9.3f} ms",
        f"draft forward          {times.draft * 1e3:9.3f} ms  (block of {times.block_length})",
        f"verify forward         {times.verify * 1e3:9.3f} ms  ({report['block_over_token']:.2f} x one token)",
        f"linear round           {times.round * 1e3:9.3f} ms  (gaps {times.gaps * 1e3:.3f} ms{round_note})",
        f"AR step                {times.token_round * 1e3:9.3f} ms",
        f"host outside engine    {times.host_share:9.1%} of a round",
        f"ideal fraction         {times.ideal_fraction:9.3f}",
    ]
    output.result(report, "\n".join(lines))


@contextmanager
def _writing(output_file: Path | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that writes the report, if it goes to a file; a file that cannot be there is refused at once."""
    from nld_trt.files import publish_file, write_json

    if output_file is None:
        yield lambda report: None
        return
    with publish_file(output_file) as work:
        yield lambda report: write_json(work, report)


def _origin() -> dict[str, Any]:
    """The command that a report is of, and when it ran."""
    command_line = shlex.join(["nld-trt", *sys.argv[1:]])
    return {"command": command_line, "date": datetime.now(UTC).isoformat(timespec="seconds")}


def _rates(report: dict[str, Any]) -> list[str]:
    rates = {name: rate for name, rate in report["gigabytes_per_second"].items() if rate is not None}
    return [f"{name.replace('_', ' ')}: {rate} GB/s" for name, rate in rates.items()]


def _times(report: dict[str, Any]) -> list[str]:
    """One line per size, pass, row temperature and kernel: cold and warm time against the floor."""
    return [
        f"{shape} {name} {rows} {kernel}: cold {times['cold_us']['median']} us, warm {times['warm_us']['median']} us, "
        f"floor {found['floor_us']} us"
        for shape, found in report["timed"].items()
        for name in ("denoise", "verify")
        for rows, kernels in found[name].items()
        for kernel, times in kernels.items()
    ]

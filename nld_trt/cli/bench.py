# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt bench``: what parts of an engine cost on this machine."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import click

from nld_trt.cli._output import json_option, output


@click.group("bench")
def command() -> None:
    """Measure parts of an engine on this machine, against what its hardware allows.

    \b
    Examples:
      nld-trt bench kernels
    """


@command.command("kernels")
@click.option("-o", "--output-file", type=click.Path(path_type=Path), default=None, help="Write the report as JSON.")
@click.option("--check-only", is_flag=True, help="Compare results with the definition and time nothing.")
@json_option
def kernels(output_file: Path | None, check_only: bool) -> None:
    """Check and time the CUDA kernels of the decode operators.

    Needs an NVIDIA GPU, its driver and NVRTC; neither TensorRT nor PyTorch. Nothing is timed unless every result is
    right. The floor is the time to read the logits at the rate of a copy on this GPU.

    \b
    Examples:
      nld-trt bench kernels
      nld-trt bench kernels -o kernels.json
    """
    import nld_trt
    from nld_trt.engine.gpu import present_gpus
    from nld_trt.engine.kernels import measure
    from nld_trt.engine.kernels.driver import Driver, Kernels
    from nld_trt.engine.kernels.image import compile_kernels
    from nld_trt.errors import InputError, OperationError

    gpus = present_gpus()
    if not gpus:
        raise InputError(
            "nld-trt bench kernels needs an NVIDIA GPU with its driver, and this machine has none",
            fix="Run it on a machine with one of the GPUs in docs/hardware.md; check with nvidia-smi.",
        )
    gpu = gpus[0]
    with output.stage(f"compiling for {gpu.compute_capability}"):
        image = compile_kernels(gpu.compute_capability)
    driver = Driver()
    made = Kernels(driver, image)
    with output.stage("checking against the definition"):
        wrong = measure.problems(made)
    report: dict[str, Any] = {
        "device": f"{gpu.name} ({gpu.compute_capability})",
        "clocks_before": measure.clocks(),
        "versions": {
            "nld-trt": nld_trt.__version__,
            "python": platform.python_version(),
            "cuda driver": driver.version,
            "compiler": image.compiler,
        },
        "resources": {name: vars(found) for name, found in image.resources.items()},
        "wrong": wrong,
    }
    if not wrong and not check_only:
        with output.stage("timing"):
            rate = measure.copy_rate(driver)
            report["copy_gigabytes_per_second"] = round(rate / 1000, 1)
            report["timed"] = {_written(shape): measure.timings(made, shape, rate) for shape in measure.TIMED}
        report["clocks_after"] = measure.clocks()
    if output_file:
        output_file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if wrong:
        raise OperationError(f"the kernels are wrong on {gpu.name}", details=wrong[:20])
    output.result(report, "\n".join([f"{report['device']}: every result is right", *_lines(report)]))


def _written(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _lines(report: dict[str, Any]) -> list[str]:
    """One line per size, row temperature and kernel: cold time against the floor."""
    lines = [f"copy: {report['copy_gigabytes_per_second']} GB/s"] if "timed" in report else []
    for shape, found in report.get("timed", {}).items():
        for kind in ("greedy", "sampled"):
            for kernel, times in found[kind].items():
                lines.append(f"{shape} {kind} {kernel}: {times['cold_us']['median']} us, floor {found['floor_us']} us")
    return lines

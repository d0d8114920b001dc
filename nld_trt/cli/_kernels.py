# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What ``nld-trt bench kernels`` reports, and how it reads."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nld_trt.cli._output import output
from nld_trt.cli._report import origin

if TYPE_CHECKING:
    from nld_trt.machine.gpu import Gpu


def resources_report(capabilities: Sequence[str]) -> dict[str, Any]:
    """What each kernel takes on each GPU, as the compiler says."""
    from nld_trt.engine.trt.kernels import image

    for capability in capabilities:
        image.check_compiler(capability)
    images = []
    for capability in dict.fromkeys(capabilities):
        with output.stage(f"compiling for {capability}"):
            images.append(image.compile_kernels(capability))
    resources = {
        made.capability: {kernel: asdict(found) for kernel, found in made.resources.items()} for made in images
    }
    return {**origin(), "compiler": images[0].compiler, "resources": resources}


def resources_text(report: dict[str, Any]) -> str:
    lines = [report["compiler"]]
    for capability, kernels_found in report["resources"].items():
        for kernel, found in kernels_found.items():
            lines.append(
                f"{capability:>4}  {kernel:28} {found['registers']:3} registers, "
                f"{found['shared_bytes']:4} bytes shared, {found['spill_bytes']} bytes spilled"
            )
    return "\n".join(lines)


def kernels_report(gpu: Gpu, check_only: bool) -> dict[str, Any]:
    """What the kernels do on ``gpu``, and, if that is right and wanted, in what time."""
    import nld_trt
    from nld_trt.engine.trt.kernels import image
    from nld_trt.machine.gpu import driver_cuda_version
    from nld_trt.measure.kernels import bandwidth, check, targets
    from nld_trt.measure.kernels import times as measure
    from nld_trt.measure.kernels.launcher import Kernels, open_device
    from nld_trt.measure.kernels.tensors import step

    capability = gpu.known_capability()
    with output.stage(f"compiling for {capability}"):
        compiled = image.compile_kernels(capability)
        compiled_bandwidth = bandwidth.compile_bandwidth(capability)
    device = open_device()
    made = Kernels(device, compiled)
    with output.stage("checking against the definition"):
        wrong = check.problems(lambda values, logit_type: step(made, values, logit_type))
    report: dict[str, Any] = {
        **origin(),
        "device": f"{gpu.name} ({capability})",
        "versions": {
            "nld-trt": nld_trt.__version__,
            "python": platform.python_version(),
            "cuda driver": driver_cuda_version(),
            "compiler": compiled.compiler,
        },
        "resources": {name: vars(found) for name, found in compiled.resources.items()},
        "wrong": wrong,
    }
    if not wrong and not check_only:
        with output.stage("timing"), bandwidth.Memory.on_device(device, compiled_bandwidth) as memory:
            report["clocks_before"] = memory.clocks()
            rates = memory.bandwidth()
            report["gigabytes_per_second"] = asdict(rates)
            report["timed"] = {
                targets.written(target.shape): measure.timings(made, target.shape, rates) for target in targets.TARGETS
            }
            report["clocks_after"] = memory.clocks()
        report["targets"] = [asdict(verdict) for verdict in targets.verdicts(report["timed"])]
    return report


def times_text(report: dict[str, Any]) -> list[str]:
    """Bandwidths, times and targets, a line each."""
    from nld_trt.measure.kernels import targets

    return [*_rates(report), *_times(report), *map(str, targets.verdicts(report["timed"]))]


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

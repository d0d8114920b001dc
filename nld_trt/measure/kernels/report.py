# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The reports of ``nld-trt bench kernels``: what the kernels take, whether they are right, and how fast they are."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import nld_trt
from nld_trt.engine.gpu.kernels import image
from nld_trt.engine.gpu.kernels.launcher import Kernels, open_device
from nld_trt.errors import InputError
from nld_trt.machine import gpu
from nld_trt.machine.gpu import Gpu
from nld_trt.measure.kernels import bandwidth, check, targets, times
from nld_trt.measure.kernels.tensors import advance, step
from nld_trt.progress import SILENT, Progress


def first_gpu() -> Gpu:
    """The GPU that the kernels are checked and timed on.

    Raises:
        InputError: this machine has none.
    """
    present = gpu.present_gpus()
    if not present:
        raise InputError(
            "nld-trt bench kernels needs an NVIDIA GPU with its driver, and this machine has none",
            fix=f"Run it on a machine with a GPU of compute capability {', '.join(image.CAPABILITIES)}, and check "
            "with nvidia-smi; --compile-only needs none.",
        )
    return present[0]


def report_resources(capabilities: Sequence[str] = (), progress: Progress = SILENT) -> dict[str, Any]:
    """Compile the kernels and report what each of them takes on each GPU, as the compiler says.

    Args:
        capabilities: compute capabilities; none means every one that a TensorRT engine can run on.

    Raises:
        InputError: the compiler is missing, or does not know a GPU.
    """
    chosen = list(dict.fromkeys(capabilities or image.CAPABILITIES))
    for capability in chosen:
        image.check_compiler(capability)
    images = []
    for capability in chosen:
        with progress.stage(f"compiling for {capability}"):
            images.append(image.compile_kernels(capability))
    resources = {
        made.capability: {kernel: asdict(found) for kernel, found in made.resources.items()} for made in images
    }
    return {"compiler": images[0].compiler, "resources": resources}


def report_kernels(device: Gpu, *, check_only: bool = False, progress: Progress = SILENT) -> dict[str, Any]:
    """Check what the kernels do on ``device``, and time them if that is right.

    Args:
        check_only: time nothing.

    Returns:
        A report with ``wrong``, a list of wrong results; ``timed`` and ``targets`` are absent where nothing was timed.

    Raises:
        InputError: the compiler or the driver is missing.
        OperationError: the driver refused a call.
    """
    capability = device.known_capability()
    with progress.stage(f"compiling for {capability}"):
        compiled = image.compile_kernels(capability)
        compiled_bandwidth = bandwidth.compile_bandwidth(capability)
    opened = open_device()
    made = Kernels(opened, compiled.cubin)
    with progress.stage("checking against the definition"):
        wrong = check.problems(partial(step, made), partial(advance, made))
    report: dict[str, Any] = {
        "device": f"{device.name} ({capability})",
        "versions": {
            "nld-trt": nld_trt.__version__,
            "python": platform.python_version(),
            "cuda driver": gpu.driver_cuda_version(),
            "compiler": compiled.compiler,
        },
        "resources": {name: vars(found) for name, found in compiled.resources.items()},
        "wrong": wrong,
    }
    if not wrong and not check_only:
        with progress.stage("timing"), bandwidth.Memory.on_device(opened, compiled_bandwidth) as memory:
            report["clocks_before"] = memory.clocks()
            rates = memory.bandwidth()
            report["gigabytes_per_second"] = asdict(rates)
            report["timed"] = {
                targets.written(target.shape): times.timings(made, target.shape, rates) for target in targets.TARGETS
            }
            report["clocks_after"] = memory.clocks()
        report["targets"] = [asdict(verdict) for verdict in targets.verdicts(report["timed"])]
    return report

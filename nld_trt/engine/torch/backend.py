# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The ``torch`` backend, which runs the network in PyTorch: on NVIDIA GPUs with kernels of its own, and on the CPU.

Building writes the weights in the layout that the kernels read, and needs no GPU. Nothing is compiled before the engine
is opened.
"""

from __future__ import annotations

from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

from nld_trt import names
from nld_trt.engine.backend import BACKENDS, TORCH_WITH_CUDA, Artefact, BuildPlan
from nld_trt.engine.platforms import PLATFORMS, capabilities_for, titles_with
from nld_trt.engine.session import EngineInfo, Session
from nld_trt.engine.torch.forms import OF_ALGORITHM
from nld_trt.engine.torch.layout import Part
from nld_trt.engine.torch.writer import WEIGHTS_FILE, WeightWriter
from nld_trt.errors import InputError, OperationError
from nld_trt.files import human_bytes
from nld_trt.graph.precision import PRECISIONS
from nld_trt.machine.gpu import Gpu, present_gpus
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.inventory import linear_modules
from nld_trt.model.safetensors_file import SafetensorsFile
from nld_trt.optional import available, install_command
from nld_trt.progress import SILENT, Progress

# Memory beside weights and caches: what PyTorch and its libraries take, and the activations of a forward.
_RESERVE_BYTES = 1_500_000_000


class TorchBackend:
    traits = BACKENDS[names.TORCH]

    def check(self, plan: BuildPlan) -> None:
        known = capabilities_for(names.TORCH)
        unknown = [name for name in plan.compute_capabilities if name not in known]
        if unknown:
            raise InputError(
                f"the torch backend was asked for compute capability {', '.join(unknown)}; it has kernels for "
                f"{', '.join(f'{name}{titles_with(name)}' for name in known)}",
                fix="Name a platform of these, or leave --platform out.",
            )
        if plan.plugins:
            raise AssertionError("the torch backend has no plugins: its kernels are chosen when an engine is opened")

    def compile(self, checkpoint: Checkpoint, plan: BuildPlan, folder: Path, progress: Progress) -> Artefact:
        target = folder / self.traits.name
        target.mkdir()
        writer = WeightWriter(checkpoint, PRECISIONS[plan.precision], plan.adapter)
        parts = writer.write(target / WEIGHTS_FILE, progress, f"{self.traits.name}: writing weights")
        with progress.stage(f"{self.traits.name}: checking the weights"):
            proof = _prove(checkpoint, target / WEIGHTS_FILE, parts)
        return Artefact(
            self.traits.name,
            plan.precision,
            {"weights": f"{self.traits.name}/{WEIGHTS_FILE}"},
            compute_capabilities=plan.compute_capabilities,
            proof=proof,
        )

    def open(self, folder: Path, artefact: Artefact, info: EngineInfo, progress: Progress = SILENT) -> Session:
        path = folder / artefact.files["weights"]
        gpu = self._gpu(artefact)
        _check_installed()
        if gpu is None:
            from nld_trt.engine.torch.cpu import open_on_cpu

            return open_on_cpu(path, info, progress)
        _check_memory(gpu, info, path.stat().st_size)
        _check_library(gpu)
        from nld_trt.engine.torch.cuda import open_on_gpu

        return open_on_gpu(path, info, progress)

    def _gpu(self, artefact: Artefact) -> Gpu | None:
        """The GPU of this machine that the engine was built for; None where it runs on the CPU.

        Raises:
            InputError: it runs on neither.
        """
        built, gpus = artefact.compute_capabilities, present_gpus()
        able = built or capabilities_for(names.TORCH)
        if gpus and gpus[0].known_capability() in able:
            return gpus[0]
        if not built and artefact.precision == names.FP32:
            return None
        found = f"{gpus[0].name} ({gpus[0].known_capability()})" if gpus else "no NVIDIA GPU whose driver answers"
        wanted = ", ".join(f"{name}{titles_with(name)}" for name in able)
        raise InputError(
            f"the torch engine was built in {artefact.precision} for GPUs of compute capability {wanted}; this machine "
            f"has {found}",
            fix=_rebuild(gpus),
        )


def _rebuild(gpus: list[Gpu]) -> str:
    """The command that builds an engine for this machine."""
    build, capability = "nld-trt build CHECKPOINT -o ENGINE_DIR", gpus[0].known_capability() if gpus else None
    for known in PLATFORMS.values():
        if capability in known.compute_capabilities and names.TORCH in known.backends:
            return f"Build for this GPU: {build} --platform {known.name} --backend {names.TORCH}"
    return f"Build for this machine's CPU: {build} --platform {names.CPU} --backend {names.TORCH}"


def _check_memory(gpu: Gpu, info: EngineInfo, weight_bytes: int) -> None:
    """Refuse an engine that does not fit the GPU, before anything is uploaded."""
    if gpu.memory_bytes is None:
        return
    row = info.config.kv_elements_per_token * PRECISIONS[info.precision].bytes * info.limits.capacity
    caches = row * info.limits.max_batch_size
    needed = weight_bytes + caches + _RESERVE_BYTES
    if needed <= gpu.memory_bytes:
        return
    rows = int((gpu.memory_bytes - weight_bytes - _RESERVE_BYTES) // row)
    fix = (
        f"Build with --max-batch-size {rows} or less, or a smaller --max-seq-len."
        if rows > 0
        else "Quantize the checkpoint, or use a GPU with more memory: nld-trt quantize CHECKPOINT -o DIR --int4"
    )
    raise InputError(
        f"the torch engine needs {human_bytes(needed)} of GPU memory ({human_bytes(weight_bytes)} of weights, "
        f"{human_bytes(caches)} of caches, {human_bytes(_RESERVE_BYTES)} for PyTorch), and {gpu.name} has "
        f"{human_bytes(gpu.memory_bytes)}",
        fix=fix,
    )


def _check_installed() -> None:
    """Refuse an engine where PyTorch is not installed."""
    if not available("torch"):
        raise InputError(
            "running a torch engine needs the Python module torch, which is not installed",
            fix=f"Install it: {install_command('torch')}",
        )


def _check_library(gpu: Gpu) -> None:
    """Refuse a PyTorch that cannot use the GPU."""
    import torch

    if torch.version.cuda is None:
        raise InputError(
            f"this machine has {gpu.name}, and PyTorch {torch.__version__} here is a build for CPUs",
            fix=TORCH_WITH_CUDA,
        )
    if not torch.cuda.is_available():
        raise InputError(
            f"PyTorch {torch.__version__} for CUDA {torch.version.cuda} cannot use {gpu.name}: the NVIDIA driver is "
            "too old for it, or hides the GPU",
            fix="Update the driver, or install a PyTorch for the CUDA version that nvidia-smi shows.",
        )


def _prove(checkpoint: Checkpoint, path: Path, parts: tuple[Part, ...]) -> dict[str, Any]:
    """Read the header of the file, and compare the layers in it with the checkpoint.

    Raises:
        OperationError: a matrix is missing, or is not in the form of its quantization.
    """
    file = SafetensorsFile.open(path)
    stored = {module: part.form for part in parts for module in part.modules}
    problems = []
    for module in linear_modules(checkpoint.config):
        found = checkpoint.formats.get(module)
        form = OF_ALGORITHM[found.algorithm.name if found else None].name
        if stored.get(module) != form:
            problems.append(f"{module} is stored as {stored.get(module, 'nothing')}, not as {form}")
    if problems:
        raise OperationError("the torch engine is not what was asked for", details=problems)
    return {
        "linear_layers": dict(Counter(stored.values())),
        "products": len(parts),
        "weight_bytes": sum(info.nbytes for info in file.tensors.values()),
        "elements": sum(prod(info.shape) for info in file.tensors.values()),
    }

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What each backend makes of each quantization: the one table that refusals, proofs and documentation read.

What it says of ``ort`` and ``trt-rtx`` was seen: with ONNX Runtime 1.32 on a CPU, and in plans that TensorRT for
RTX 1.7 compiled. Nothing is known first-hand of ``trt``, which compiles the graph of ``trt-rtx``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from nld_trt import names
from nld_trt.engine.backend import BACKENDS, BuildPlan
from nld_trt.engine.platforms import titles_with
from nld_trt.errors import InputError
from nld_trt.machine.gpu import present_gpus
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.quantized.formats import LinearFormat

Status = Literal["native", "fallback", "refused"]


@dataclass(frozen=True)
class Support:
    """One backend and one algorithm.

    Attributes:
        status: native means that matrix kernels read the quantized weights themselves.
        how: what the engine does; of a refusal, why.
        compute_capability: the least that has the types; empty where any does, or there is no GPU.
        group_sizes: that its kernels can read; empty for any.
        executed: whether it was compiled (trt-rtx) or run (ort) by the authors.
    """

    status: Status
    how: str
    compute_capability: str = ""
    group_sizes: tuple[int, ...] = ()
    executed: bool = True


_UNPACKED_AT_LOAD = (
    "weights are stored quantized and unpacked while loading: memory and speed are those of an unquantized engine"
)
_FP4_UNPACKED = (
    "weights stay in FP4 in the plan, and every forward unpacks each in a kernel of its own before the matrix "
    "product: less memory than bf16, and no less time"
)

# Algorithm to backend. A pair that is not here is refused.
SUPPORT: Mapping[str, Mapping[str, Support]] = {
    "W4A16_AWQ": {
        names.ORT: Support(
            "native",
            "4-bit matrix kernels, which round activations to 8 bits in groups of the weights'",
            group_sizes=tuple(1 << power for power in range(4, 13)),
        ),
        names.TRT_RTX: Support("native", "INT4 weights are unpacked inside the matrix kernel", "8.6"),
        names.TRT: Support("native", "the graph of trt-rtx", executed=False),
    },
    "FP8": {
        names.ORT: Support("fallback", _UNPACKED_AT_LOAD),
        names.TRT_RTX: Support("native", "FP8 matrix kernels", "8.9"),
        names.TRT: Support("native", "the graph of trt-rtx", "8.9", executed=False),
    },
    "FP8_PER_CHANNEL_PER_TOKEN": {
        names.ORT: Support("fallback", _UNPACKED_AT_LOAD),
        names.TRT_RTX: Support(
            "native", "FP8 matrix kernels; one kernel before and one behind each for the scales", "8.9"
        ),
        names.TRT: Support("native", "the graph of trt-rtx", "8.9", executed=False),
    },
    "W4A16_NVFP4": {
        names.ORT: Support("fallback", _UNPACKED_AT_LOAD),
        names.TRT_RTX: Support("fallback", _FP4_UNPACKED, "12.0"),
        names.TRT: Support("fallback", _FP4_UNPACKED, "10.0", executed=False),
    },
    "NVFP4": {
        names.ORT: Support("fallback", f"{_UNPACKED_AT_LOAD}; activations are rounded to FP4 in floats"),
        names.TRT_RTX: Support(
            "native", "FP4 matrix kernels; activations are quantized in a kernel before each", "12.0"
        ),
        names.TRT: Support("native", "the graph of trt-rtx", "10.0", executed=False),
    },
}

# Why a backend has no quantized caches. None has: caches are in the engine's precision, also for checkpoints that were
# made for others.
_KV_CACHE: Mapping[str, str] = {
    names.ORT: "ONNX Runtime 1.32 cannot update an FP8 cache: it has no CPU kernel for TensorScatter of that type",
    names.TRT_RTX: "TensorRT for RTX 1.7 takes caches in fp32, fp16 and bf16 only",
    names.TRT: "its graph is that of trt-rtx, and nothing else was tried",
}


def kv_cache_support() -> Mapping[str, str]:
    """Why no backend runs with quantized keys and values: backend to reason."""
    return _KV_CACHE


def check(plan: BuildPlan, checkpoint: Checkpoint) -> None:
    """Refuse a quantization that the plan's backend, or a GPU that it is for, cannot run.

    Raises:
        InputError: naming the algorithm, the reason, and what can run it.
    """
    if plan.kv_cache == "checkpoint" and checkpoint.kv_cache is not None:
        raise InputError(
            f"{checkpoint.folder} was made for {checkpoint.kv_cache} key/value caches, which no backend can run",
            details=[f"{name}: {reason}" for name, reason in _KV_CACHE.items()],
            fix="Build with --kv-cache auto (the default): the caches are then in the engine's precision.",
        )
    if plan.backend not in BACKENDS:
        return
    distinct = {(format.algorithm.name, format.group_size): format for format in checkpoint.formats.values()}
    for format in distinct.values():
        _check_format(plan, format, checkpoint)


def cache_note(plans: Iterable[BuildPlan], checkpoint: Checkpoint) -> str | None:
    """What is worth saying about the precision of the caches; None where it was chosen, or is as expected."""
    made = [plan for plan in plans if plan.kv_cache == names.DEFAULT_KV_CACHE]
    if checkpoint.kv_cache is None or not made:
        return None
    precisions = ", ".join(dict.fromkeys(plan.precision for plan in made))
    return (
        f"the checkpoint was made for {checkpoint.kv_cache} key/value caches, which no backend can run: caches are in "
        f"{precisions}, the engine's precision (--kv-cache engine leaves this note out)"
    )


def algorithms(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Names of the algorithms that the checkpoint's layers use."""
    return tuple(dict.fromkeys(found.algorithm.name for found in checkpoint.formats.values()))


def fallbacks(backend: str, checkpoint: Checkpoint) -> list[str]:
    """One line for each algorithm of the checkpoint that the backend replaces by something else."""
    return [
        fallback(backend, algorithm, sum(found.algorithm.name == algorithm for found in checkpoint.formats.values()))
        for algorithm in algorithms(checkpoint)
        if SUPPORT[algorithm][backend].status == "fallback"
    ]


def fallback(backend: str, algorithm: str, layers: int) -> str:
    """What happens to ``layers`` layers of ``algorithm`` instead of native kernels."""
    return f"{algorithm} ({layers} layers): {SUPPORT[algorithm][backend].how}"


def _check_format(plan: BuildPlan, format: LinearFormat, checkpoint: Checkpoint) -> None:
    algorithm = format.algorithm.name
    layers = f"{algorithm} layers, which {checkpoint.folder} has"
    found = SUPPORT.get(algorithm, {}).get(plan.backend, Support("refused", "nobody has tried it"))
    if found.status == "refused":
        raise InputError(
            f"the {plan.backend} backend cannot run {layers}: {found.how}",
            details=[f"{plan.backend} runs {', '.join(_runs(plan.backend))}"],
            fix=_elsewhere(algorithm),
        )
    if found.group_sizes and format.group_size not in found.group_sizes:
        raise InputError(
            f"the {plan.backend} backend cannot run {layers}, in groups of {format.group_size}; its kernels read "
            f"groups of {', '.join(map(str, found.group_sizes))}",
            fix="Quantize again in other groups: nld-trt quantize CHECKPOINT -o DIR --int4",
        )
    short = [name for name in _targets(plan, found) if _number(name) < _number(found.compute_capability)]
    if short:
        raise InputError(
            f"{layers}, need compute capability {found.compute_capability} with the {plan.backend} backend; asked "
            f"for: {', '.join(f'{name}{titles_with(name)}' for name in short)}",
            fix="Choose another platform, or quantize for this one: nld-trt quantize CHECKPOINT -o DIR --int4",
        )


def _runs(backend: str) -> list[str]:
    return [name for name, found in SUPPORT.items() if backend in found and found[backend].status != "refused"]


def _elsewhere(algorithm: str) -> str:
    able = [name for name, found in SUPPORT.get(algorithm, {}).items() if found.status != "refused"]
    return f"Build with {' or '.join(f'--backend {name}' for name in able)}." if able else "Quantize it another way."


def _targets(plan: BuildPlan, found: Support) -> Iterable[str]:
    """Compute capabilities to check: those of the plan, or that of this machine's GPU. Empty where any will do."""
    if not found.compute_capability:
        return ()
    return plan.compute_capabilities or [gpu.known_capability() for gpu in present_gpus()[:1]]


def _number(compute_capability: str) -> tuple[int, ...]:
    return tuple(int(part) for part in compute_capability.split("."))

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The table of how each backend runs each quantization. Refusals, proofs and the documentation are based on it.

The entries for ``ort`` and ``trt-rtx`` were verified, with ONNX Runtime 1.32 on a CPU and in plans that TensorRT for
RTX 1.7 compiled. Those for ``trt``, which compiles the graph of ``trt-rtx``, were not. Those for ``torch`` were run on
the CPU, with its kernels in Triton's interpreter, and compiled for its GPUs.
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
    """How one backend runs one algorithm.

    Attributes:
        status: native if matrix kernels read the quantized weights.
        how: what the engine does, or the reason for a refusal.
        compute_capability: the lowest one whose GPUs support the types; empty where all do, or no GPU is used.
        group_sizes: the group sizes that its kernels can read; empty where they can read any.
        executed: whether the authors compiled (trt-rtx) or ran (ort) it.
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
    "weights stay in FP4 in the plan, and every forward unpacks each in a separate kernel before the matrix "
    "product: less memory than bf16, and no less time"
)

# The entries by algorithm, then by backend. A pair without an entry is refused.
SUPPORT: Mapping[str, Mapping[str, Support]] = {
    "W4A16_AWQ": {
        names.ORT: Support(
            "native",
            "4-bit matrix kernels, which round activations to 8 bits in groups of the weights'",
            group_sizes=tuple(1 << power for power in range(4, 13)),
        ),
        names.TRT_RTX: Support("native", "INT4 weights are unpacked inside the matrix kernel", "8.6"),
        names.TRT: Support("native", "the graph of trt-rtx", executed=False),
        names.TORCH: Support(
            "native", "INT4 weights are unpacked inside a Triton kernel; on the CPU while loading", executed=False
        ),
    },
    "FP8": {
        names.ORT: Support("fallback", _UNPACKED_AT_LOAD),
        names.TRT_RTX: Support("native", "FP8 matrix kernels", "8.9"),
        names.TRT: Support("native", "the graph of trt-rtx", "8.9", executed=False),
        names.TORCH: Support(
            "native",
            "FP8 matrix kernels of PyTorch, in bf16; otherwise, and on the CPU, unpacked while loading",
            executed=False,
        ),
    },
    "FP8_PER_CHANNEL_PER_TOKEN": {
        names.ORT: Support("fallback", _UNPACKED_AT_LOAD),
        names.TRT_RTX: Support(
            "native", "FP8 matrix kernels; one kernel before and one after each for the scales", "8.9"
        ),
        names.TRT: Support("native", "the graph of trt-rtx", "8.9", executed=False),
        names.TORCH: Support(
            "native",
            "FP8 matrix kernels of PyTorch, in bf16; otherwise, and on the CPU, unpacked while loading",
            executed=False,
        ),
    },
    "W4A16_NVFP4": {
        names.ORT: Support("fallback", _UNPACKED_AT_LOAD),
        names.TRT_RTX: Support("fallback", _FP4_UNPACKED, "12.0"),
        names.TRT: Support("fallback", _FP4_UNPACKED, "10.0", executed=False),
        names.TORCH: Support(
            "native", "FP4 weights are unpacked inside a Triton kernel; on the CPU while loading", executed=False
        ),
    },
    "NVFP4": {
        names.ORT: Support("fallback", f"{_UNPACKED_AT_LOAD}; activations are rounded to FP4 in floats"),
        names.TRT_RTX: Support(
            "native", "FP4 matrix kernels; activations are quantized in a kernel before each", "12.0"
        ),
        names.TRT: Support("native", "the graph of trt-rtx", "10.0", executed=False),
        names.TORCH: Support(
            "fallback",
            "FP4 weights are unpacked inside a Triton kernel, and activations rounded to FP4 in floats: less memory, "
            "and no FP4 arithmetic",
            executed=False,
        ),
    },
}

# The reason why each backend has no quantized KV caches. Caches are always in the engine's precision, also for
# checkpoints that were made for quantized caches.
_KV_CACHE: Mapping[str, str] = {
    names.ORT: "ONNX Runtime 1.32 cannot update an FP8 cache: it has no CPU kernel for TensorScatter of that type",
    names.TRT_RTX: "TensorRT for RTX 1.7 takes caches in fp32, fp16 and bf16 only",
    names.TRT: "its graph is that of trt-rtx, and nothing else was tried",
    names.TORCH: "its attention kernel reads caches in the engine's precision",
}


def kv_cache_support() -> Mapping[str, str]:
    """Returns, for each backend, the reason why it cannot run with a quantized KV cache."""
    return _KV_CACHE


def check(plan: BuildPlan, checkpoint: Checkpoint) -> None:
    """Refuse a quantization that the plan's backend, or one of its GPU targets, cannot run.

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
    """Returns a note about the precision of the KV caches. None where the user chose it, or it is the checkpoint's."""
    made = [plan for plan in plans if plan.kv_cache == names.DEFAULT_KV_CACHE]
    if checkpoint.kv_cache is None or not made:
        return None
    precisions = ", ".join(dict.fromkeys(plan.precision for plan in made))
    return (
        f"the checkpoint was made for {checkpoint.kv_cache} key/value caches, which no backend can run: caches are in "
        f"{precisions}, the engine's precision (--kv-cache engine leaves this note out)"
    )


def algorithms(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Returns the names of the algorithms that the checkpoint's layers use."""
    return tuple(dict.fromkeys(found.algorithm.name for found in checkpoint.formats.values()))


def fallbacks(backend: str, checkpoint: Checkpoint) -> list[str]:
    """Returns a line for each algorithm of the checkpoint for which the backend has a fallback."""
    return [
        fallback(backend, algorithm, sum(found.algorithm.name == algorithm for found in checkpoint.formats.values()))
        for algorithm in algorithms(checkpoint)
        if SUPPORT[algorithm][backend].status == "fallback"
    ]


def fallback(backend: str, algorithm: str, layers: int) -> str:
    """Describe the fallback that ``layers`` layers of ``algorithm`` get in place of native kernels."""
    return f"{algorithm} ({layers} layers): {SUPPORT[algorithm][backend].how}"


def _check_format(plan: BuildPlan, format: LinearFormat, checkpoint: Checkpoint) -> None:
    algorithm = format.algorithm.name
    layers = f"{algorithm} layers, which {checkpoint.folder} has"
    found = SUPPORT.get(algorithm, {}).get(plan.backend, Support("refused", "it has not been tried"))
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
    return f"Build with {' or '.join(f'--backend {name}' for name in able)}." if able else "Use another algorithm."


def _targets(plan: BuildPlan, found: Support) -> Iterable[str]:
    """Returns the compute capabilities to check: the plan's, or this machine's GPU's. Empty where all are supported."""
    if not found.compute_capability:
        return ()
    return plan.compute_capabilities or [gpu.known_capability() for gpu in present_gpus()[:1]]


def _number(compute_capability: str) -> tuple[int, ...]:
    return tuple(int(part) for part in compute_capability.split("."))

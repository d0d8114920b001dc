# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What the support table means for a build: what it refuses, what it replaces, and what it says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nld_trt import names
from nld_trt.engine.backend import BACKENDS, BuildPlan
from nld_trt.engine.platforms import titles_with
from nld_trt.engine.support_table import KV_CACHE, SUPPORT, Support
from nld_trt.errors import InputError
from nld_trt.machine.gpu import present_gpus
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.quantized.formats import LinearFormat


def kv_cache_support() -> Mapping[str, str]:
    """Returns, for each backend, the reason why it cannot run with a quantized KV cache."""
    return KV_CACHE


def check(plan: BuildPlan, checkpoint: Checkpoint) -> None:
    """Refuse a quantization that the plan's backend, or one of its GPU targets, cannot run.

    Raises:
        InputError: naming the algorithm, the reason, and what can run it.
    """
    if plan.kv_cache == "checkpoint" and checkpoint.kv_cache is not None:
        raise InputError(
            f"{checkpoint.folder} was made for {checkpoint.kv_cache} key/value caches, which no backend can run",
            details=[f"{name}: {reason}" for name, reason in KV_CACHE.items()],
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

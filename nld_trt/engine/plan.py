# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Turn what a user asked for, in flags or in a file, into one build plan per backend."""

from __future__ import annotations

from collections.abc import Sequence

from nld_trt import names
from nld_trt.engine.backend import BACKENDS, BuildPlan
from nld_trt.engine.build_config import BuildConfig
from nld_trt.engine.platforms import PLATFORMS
from nld_trt.errors import InputError
from nld_trt.graph.contract import Limits
from nld_trt.machine.gpu import present_gpus
from nld_trt.model.checkpoint import Checkpoint

DEFAULT_BACKEND = names.ORT


def make_plans(checkpoint: Checkpoint, asked: BuildConfig, *, debug: bool = False) -> list[BuildPlan]:
    """Make the build plans: fill in defaults and give each backend its GPU targets.

    Where no backend is given, the preferred one of each platform is built, or ``ort`` where no platform is given
    either. Without a platform, a backend that compiles for other machines
    targets every platform that prefers it.

    Raises:
        InputError: none of the chosen backends runs on one of the platforms, one engine of a backend cannot serve all
            of them, or plugins are asked for and no backend takes any.
    """
    limits = _limits(checkpoint, asked)
    platforms = [PLATFORMS[name] for name in asked.platforms]
    chosen = list(asked.backends)
    if not chosen:
        chosen = list(dict.fromkeys(platform.backends[0] for platform in platforms)) or [DEFAULT_BACKEND]
    unserved = [platform.name for platform in platforms if not set(platform.backends) & set(chosen)]
    if unserved:
        platform = PLATFORMS[unserved[0]]
        raise InputError(
            f"--platform {platform.name} is not served by the {', '.join(chosen)} backend; "
            f"it runs on {', '.join(platform.backends)}",
            fix=f"Add --backend {platform.backends[0]}, or leave --backend out.",
        )
    _check_plugins(chosen, asked)
    _check_cpu(chosen, asked)
    adapter = checkpoint.adapter is not None if asked.lora is None else asked.lora
    return [
        BuildPlan(
            backend=name,
            precision=_precision(name, asked),
            limits=limits,
            adapter=adapter,
            compute_capabilities=_targets(name, asked),
            debug=debug,
            plugins=BACKENDS[name].takes_plugins and asked.plugins is not False,
            kv_cache=asked.kv_cache or names.DEFAULT_KV_CACHE,
            head=asked.head or names.DEFAULT_HEAD,
        )
        for name in chosen
    ]


def _check_plugins(chosen: Sequence[str], asked: BuildConfig) -> None:
    """Refuse a plugin flag if no chosen backend takes plugins. If some do, the flag is meant for those."""
    if asked.plugins is None or any(BACKENDS[name].takes_plugins for name in chosen):
        return
    able = " or ".join(name for name, traits in BACKENDS.items() if traits.takes_plugins)
    flag = "--plugins" if asked.plugins else "--no-plugins"
    raise InputError(
        f"{flag} was given for the {' and '.join(chosen)} backend, and decode operators are plugins in {able} engines "
        "only",
        fix=f"Leave {flag} out, or add --backend {able}.",
    )


def _check_cpu(chosen: Sequence[str], asked: BuildConfig) -> None:
    """Refuse a CPU beside GPUs, or in the precision of GPUs, where the only backend for it is one of GPUs."""
    platforms = [PLATFORMS[name] for name in asked.platforms]
    on_gpus = [platform.name for platform in platforms if platform.compute_capabilities]
    if len(on_gpus) == len(platforms) or any(BACKENDS[name].device == "cpu" for name in chosen):
        return
    (name,) = [name for name in chosen if name in PLATFORMS[names.CPU].backends]
    precision = BACKENDS[name].cpu_precision
    if on_gpus:
        raise InputError(
            f"a {name} engine runs on the GPUs that it was built for or on the CPU, not on both of "
            f"{', '.join(on_gpus)} and {names.CPU}",
            fix=f"Add --backend {names.ORT} for the CPU, or build an engine folder for each.",
        )
    if asked.precision not in (None, precision):
        raise InputError(
            f"--precision {asked.precision} was asked for on the CPU, where {name} engines compute in {precision} only",
            fix=f"Leave --precision out, or name a GPU's --platform. --backend {names.ORT} has {names.FP16}.",
        )


def _limits(checkpoint: Checkpoint, asked: BuildConfig) -> Limits:
    config = checkpoint.config
    most = min(config.max_position_embeddings, config.attention_window or config.max_position_embeddings)
    longest = asked.max_seq_len or min(names.DEFAULT_MAX_SEQ_LEN, most)
    canvas = longest if config.family.reads_canvas else 0
    if canvas and asked.prompt_chunk not in (None, canvas):
        raise InputError(
            f"--prompt-chunk is {asked.prompt_chunk}; {config.family.title} reads prompt and answer in one pass, and "
            "no prompt in chunks",
            fix="Leave --prompt-chunk out. --max-seq-len is the longest canvas.",
        )
    chunk = canvas or (names.DEFAULT_PROMPT_CHUNK if asked.prompt_chunk is None else asked.prompt_chunk)
    return Limits(
        max_batch_size=names.DEFAULT_MAX_BATCH_SIZE if asked.max_batch_size is None else asked.max_batch_size,
        max_seq_len=longest,
        max_block_length=config.block_size if asked.block_length is None else asked.block_length,
        prompt_chunk=min(chunk, longest),
        max_quadratic_length=asked.quadratic_length or 0,
        max_canvas_length=canvas,
    )


def _precision(name: str, asked: BuildConfig) -> str:
    """One backend's precision: the one that was asked for, or its default where several backends share the flag."""
    made = BACKENDS[name]
    if asked.precision is None:
        return made.cpu_precision if made.cpu_precision and _for_cpu(name, asked) else made.default_precision
    if len(asked.backends) > 1:
        if made.cpu_precision and asked.platforms and _for_cpu(name, asked):
            return made.cpu_precision
        if asked.precision not in made.precisions:
            return made.default_precision
    return asked.precision


def _for_cpu(name: str, asked: BuildConfig) -> bool:
    """Whether a backend of GPUs and CPUs is to run on a CPU: the platforms say so, or without any, this machine."""
    served = [PLATFORMS[platform] for platform in asked.platforms if name in PLATFORMS[platform].backends]
    if served:
        return not any(platform.compute_capabilities for platform in served)
    return not present_gpus()


def _targets(name: str, asked: BuildConfig) -> tuple[str, ...]:
    """Returns the compute capabilities to compile for. Empty stands for the GPU of this machine: the backend compiles
    only on its target, and no platform was given."""
    chosen = [PLATFORMS[platform] for platform in asked.platforms if name in PLATFORMS[platform].backends]
    if not chosen and BACKENDS[name].cross_compiles:
        chosen = [platform for platform in PLATFORMS.values() if platform.backends[0] == name]
    return tuple(dict.fromkeys(target for platform in chosen for target in platform.compute_capabilities))

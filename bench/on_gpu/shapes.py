# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Part 3: forwards and the decode loop with the shapes of the 8B model and random weights, which are made on the GPU.

``nld_trt.measure.loop_times`` says what is inside each timed region. Forwards of long contexts are timed by themselves,
because filling a cache takes long; their caches hold zeros, which does not change what is read.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import torch

from nld_trt import names
from nld_trt.graph.contract import Limits
from nld_trt.machine.device import Device
from nld_trt.measure.kernels.bandwidth import Memory, compile_bandwidth
from nld_trt.measure.loop_times import measure_forwards, measure_loop
from nld_trt.model.config import ModelConfig
from nld_trt.model.inventory import parameter_count
from nld_trt.model.synthetic import PRESETS, release_config
from on_gpu.engines import Shape, open_random
from on_gpu.settings import Settings

_BLOCK = 32
# (context, rows): the loop is timed at the first context, forwards alone at the others.
_LOOPS = (512, (1, 8, 32))
_FORWARDS = ((4096, (1, 8)), (32_768, (1,)))
_FORMS = ("fp8", "int4")


def run(settings: Settings) -> dict[str, Any]:
    settings.need_gpu()
    size, repeats = "8b", 3 if settings.quick else 7
    found: dict[str, Any] = {"size": size, "block_length": _BLOCK, "repeats": repeats, "bf16": {}, "quantized": {}}
    for context, rows, loop in _points(settings.quick):
        found["bf16"][f"{rows} rows, {context} cached"] = _measure(size, "float", rows, context, repeats, loop=loop)
    for form in _FORMS:
        found["quantized"][form] = _measure(size, form, 1, _LOOPS[0], repeats, loop=True)
    found |= {"weight_bytes": _weight_bytes(size), "read_gigabytes_per_second": _read_rate()}
    found["targets"] = _targets(found)
    return found


def _weight_bytes(size: str) -> int:
    """Bytes that a forward of one token reads: everything but the embedding, of which it reads one row."""
    config = ModelConfig.from_hf(release_config(PRESETS[size]))
    return 2 * (parameter_count(config) - config.vocab_size * config.hidden_size)


def _read_rate() -> float:
    """What a kernel that only reads reaches on this GPU, in GB/s."""
    properties = torch.cuda.get_device_properties(0)
    image = compile_bandwidth(f"{properties.major}.{properties.minor}")
    with Memory.on_device(Device.open("measuring the bandwidth", names.TORCH), image) as memory:
        return memory.bandwidth().read_kernel


def _points(quick: bool) -> Iterator[tuple[int, int, bool]]:
    """(context, rows, whether the loop is timed)."""
    context, rows = _LOOPS
    yield from ((context, count, True) for count in (rows[:1] if quick else rows))
    if not quick:
        yield from ((context, count, False) for context, rows in _FORWARDS for count in rows)


def _measure(size: str, form: str, rows: int, context: int, repeats: int, *, loop: bool) -> dict[str, Any]:
    """Times in milliseconds and memory in GB of one engine, which is gone afterwards."""
    longest = context + 1 + 12 * _BLOCK
    limits = Limits(max_batch_size=rows, max_seq_len=longest, max_block_length=_BLOCK, prompt_chunk=512)
    free = torch.cuda.mem_get_info()[0]
    session = open_random(Shape(size, names.BF16, form, limits))
    try:
        if loop:
            times = measure_loop(session, rows=rows, context=context, block_length=_BLOCK, repeats=repeats).to_dict()
        else:
            forwards = measure_forwards(session, rows=rows, context=context, block_length=_BLOCK, repeats=repeats)
            times = {f"{name}_ms": seconds * 1e3 for name, seconds in forwards.items()}
        return {**times, "memory_gb": (free - torch.cuda.mem_get_info()[0]) / 1e9}
    finally:
        del session
        gc.collect()
        torch.cuda.empty_cache()


def _targets(found: dict[str, Any]) -> dict[str, Any]:
    """What was aimed at: (measured, most or least, met)."""
    points, context = found["bf16"], _LOOPS[0]
    one = points[f"1 rows, {context} cached"]
    reading_ms = found["weight_bytes"] / found["read_gigabytes_per_second"] / 1e6
    aims = {
        "AR round over reading the weights": (one["token_round_ms"] / reading_ms, "<=", 1.25),
        "ideal fraction at 1 row": (one["ideal_fraction"], ">=", 0.95),
        "block over one token": (one["block_over_token"], "<=", 1.06),
        "gaps over round": (one["gaps_ms"] / one["round_ms"], "<=", 0.02),
        "host share": (one["host_share"], "<=", 0.02),
        "fp8 one token over bf16": (found["quantized"]["fp8"]["one_token_ms"] / one["one_token_ms"], "<=", 0.62),
        "int4 one token over bf16": (found["quantized"]["int4"]["one_token_ms"] / one["one_token_ms"], "<=", 0.45),
        "int4 block over bf16": (found["quantized"]["int4"]["verify_ms"] / one["verify_ms"], "<=", 0.45),
    }
    if f"32 rows, {context} cached" in points:
        many, eight = points[f"32 rows, {context} cached"], points[f"8 rows, {context} cached"]
        aims["32 rows of one token over 1"] = (many["one_token_ms"] / one["one_token_ms"], "<=", 1.25)
        aims["8 rows of a block over 1"] = (eight["verify_ms"] / one["verify_ms"], "<=", 1.6)
    return {
        name: {"measured": value, "target": f"{sign} {aim}", "met": value >= aim if sign == ">=" else value <= aim}
        for name, (value, sign, aim) in aims.items()
    }

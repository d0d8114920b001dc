# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Part 7: which kernels a forward's time is in, from PyTorch's profiler over rounds of the decode loop.

The engine has the 8B model's shapes and few layers; times are microseconds per layer, with the head apart as far as its
kernels have names of their own.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from typing import Any

import torch

from nld_trt import names
from nld_trt.graph.contract import Limits
from nld_trt.measure.loop_times import DecodeLoop, tokens_needed
from on_gpu.engines import Shape, open_random
from on_gpu.settings import Settings

_LAYERS, _CONTEXT, _BLOCK, _ROUNDS = 8, 512, 32, 8
_FORMS = ("float", "fp8", "int4")
# (mode, rows)
_LOOPS = ((names.AR, 1), (names.LINEAR, 1), (names.LINEAR, 8))
_LONGEST_NAME = 60


def run(settings: Settings) -> dict[str, Any]:
    settings.need_gpu()
    found: dict[str, Any] = {"layers": _LAYERS, "context": _CONTEXT, "block_length": _BLOCK}
    longest = tokens_needed(_CONTEXT, _BLOCK, _ROUNDS)
    limits = Limits(max_batch_size=8, max_seq_len=longest, max_block_length=_BLOCK, prompt_chunk=512)
    for form in _FORMS:
        session = open_random(Shape("8b", names.BF16, form, limits, layers=_LAYERS))
        for mode, rows in _LOOPS[: 2 if form != "float" else None]:
            loop = DecodeLoop(session, mode, rows, _CONTEXT, _BLOCK, longest, _ROUNDS)
            for _ in range(2):
                loop.round()
            found[f"{form}, {mode}, {rows} rows"] = _kernels(loop, 2 if mode == names.LINEAR else 1)
        del session, loop
        gc.collect()
        torch.cuda.empty_cache()
    return found


def _kernels(loop: DecodeLoop, forwards: int) -> dict[str, Any]:
    """Microseconds per forward and layer of each kernel, the longest first, over everything that the profiler saw."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        seconds, _ = loop.round()
    total: dict[str, float] = defaultdict(float)
    count: dict[str, int] = defaultdict(int)
    for event in profile.events():
        total[event.name[:_LONGEST_NAME]] += event.device_time_total
        count[event.name[:_LONGEST_NAME]] += 1
    kernels = sorted(total, key=lambda name: -total[name])
    return {
        "forward_ms": seconds * 1e3 / forwards,
        "kernels": {
            name: {"calls": count[name], "mean_us": round(total[name] / count[name], 2)} for name in kernels[:24]
        },
    }

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Part 4: AR against what a user would pick: transformers with a static cache, eager and compiled.

The class is the one that `nld-trt convert --to ministral3` exports to, with the 8B model's shapes and random weights.
The time is that of ``generate`` for _TOKENS tokens after the first, greedy, after a prompt of _CONTEXT tokens. Ours is
the AR round of the decode loop over as many cached tokens, in the same process.
"""

from __future__ import annotations

import gc
import time
from typing import Any

import torch

from nld_trt import names
from nld_trt.graph.contract import Limits
from nld_trt.measure.loop_times import measure_loop
from nld_trt.model.synthetic import PRESETS, release_config
from on_gpu.engines import Shape, open_random
from on_gpu.settings import Lacks, Settings

_SIZE, _CONTEXT, _TOKENS, _BLOCK = "8b", 512, 128, 32


def run(settings: Settings) -> dict[str, Any]:
    settings.need_gpu()
    try:
        import transformers
    except ImportError as error:
        raise Lacks("the package transformers") from error
    repeats = 2 if settings.quick else 5
    ours = _ours(repeats)
    eager = _transformers(transformers, compiled=False, repeats=repeats)
    compiled = _transformers(transformers, compiled=True, repeats=repeats)
    return {
        "size": _SIZE,
        "context": _CONTEXT,
        "transformers": transformers.__version__,
        "milliseconds_per_token": {"nld-trt": ours, "eager": eager, "compiled": compiled},
        "targets": {
            "over eager": {"measured": eager / ours, "target": ">= 3", "met": eager / ours >= 3},
            "over compiled": {"measured": compiled / ours, "target": ">= 1.3", "met": compiled / ours >= 1.3},
        },
    }


def _ours(repeats: int) -> float:
    limits = Limits(1, _CONTEXT + 1 + 12 * _BLOCK, _BLOCK, 512)
    session = open_random(Shape(_SIZE, names.BF16, "float", limits))
    times = measure_loop(session, rows=1, context=_CONTEXT, block_length=_BLOCK, repeats=repeats)
    del session
    gc.collect()
    torch.cuda.empty_cache()
    return times.token_round * 1e3


def _transformers(transformers: Any, *, compiled: bool, repeats: int) -> float:
    """Milliseconds per token, the median of some calls."""
    released = release_config(PRESETS[_SIZE])
    known = {key: released[key] for key in _KEYS}
    config = transformers.AutoConfig.for_model("ministral3", **known)
    with torch.device("cuda"), torch.no_grad():
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    if compiled:
        model.forward = torch.compile(model.forward, mode="reduce-overhead", fullgraph=True)
    for _ in range(2):
        _seconds(model, _TOKENS + 1, compiled)
    # The prefill, and whatever else a call costs once, is in both.
    found = sorted(
        (_seconds(model, _TOKENS + 1, compiled) - _seconds(model, 1, compiled)) / _TOKENS for _ in range(repeats)
    )
    del model
    gc.collect()
    torch.cuda.empty_cache()
    return found[len(found) // 2] * 1e3


def _seconds(model: Any, tokens: int, compiled: bool) -> float:
    """The time of one call of ``generate``."""
    prompt = torch.randint(1000, 2000, (1, _CONTEXT), device="cuda")
    torch.cuda.synchronize()
    started = time.perf_counter()
    model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=tokens, min_new_tokens=tokens,
        do_sample=False, cache_implementation="static", disable_compile=not compiled,
    )  # fmt: skip
    torch.cuda.synchronize()
    return time.perf_counter() - started


_KEYS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "head_dim", "rms_norm_eps", "max_position_embeddings",
)  # fmt: skip

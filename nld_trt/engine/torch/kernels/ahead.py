# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Compiling the Triton kernels for GPUs that are not here, to know that they compile and what they take.

Engines do not use the result: Triton compiles a kernel when it is first launched, and keeps it in its cache on disk.
The sizes are those of the 8B model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from nld_trt.engine.gpu.kernels.cubin import Resources, read_cubin
from nld_trt.engine.torch.kernels import attention, draft, few, fp8, mlp, norm, rotary, unpack, window
from nld_trt.graph.step.tensors import CANDIDATES

_HEADS, _KV_HEADS, _HEAD_DIM, _HIDDEN, _RANK = 32, 8, 128, 4096, 128
# Triton's types of the tensors that are not activations; an activation is "*bf16", "*fp16" or "*fp32".
_INTEGERS = dict.fromkeys(("cache_length", "valid_count", "segments"), "*i32") | {"causal": "*i1"}


@dataclass(frozen=True)
class Variant:
    """A kernel with the values that it is compiled for.

    Attributes:
        types: Triton's type of each argument that is not an activation tensor or a 32-bit integer.
        constants: the ``constexpr`` arguments.
    """

    name: str
    kernel: Any
    constants: Mapping[str, Any]
    types: Mapping[str, str] = field(default_factory=dict)
    activations: tuple[str, ...] = ()
    warps: int = 4
    stages: int = 3


def variants() -> tuple[Variant, ...]:
    """The kernels in the forms that forwards of the 8B model launch."""
    block = triton.next_power_of_2(_HIDDEN)
    heads = {"Q": _HEADS, "K": _KV_HEADS, "D": _HEAD_DIM}
    attend = {**heads, "G": _HEADS // _KV_HEADS, "KEYS": attention._KEYS, "PRECISE": False, "PROMPT_BLOCK": 0}
    partial = {"partial": "*fp32", "peaks": "*fp32", "sums": "*fp32", "scale": "fp32"}
    return (
        Variant("norm", norm._norm, {"HAS_RESIDUAL": False, "BLOCK": block}, {"eps": "fp32"},
                ("x", "residual", "weight", "total", "normed"), warps=8),
        Variant("add_norm", norm._norm, {"HAS_RESIDUAL": True, "BLOCK": block}, {"eps": "fp32"},
                ("x", "residual", "weight", "total", "normed"), warps=8),
        *(Variant(name, rotary._rotate_and_store, {**heads, "HAS_NORMS": has_norms}, {**_INTEGERS, "eps": "fp32"},
                  ("qkv", "query", "keys", "values", "query_cos", "query_sin", "key_cos", "key_sin", "query_norm",
                   "key_norm"), warps=1)
          for name, has_norms in (("rotate_and_store", False), ("norm_rotate_and_store", True))),
        Variant("attend_token", attention._attend, {**attend, "ROWS": 16, "SPLITS": 16}, _INTEGERS | partial,
                ("query", "keys", "values", "out"), stages=2),
        Variant("attend_block", attention._attend, {**attend, "ROWS": 128, "SPLITS": 8}, _INTEGERS | partial,
                ("query", "keys", "values", "out"), warps=8, stages=2),
        Variant("attend_prompt_blocks", attention._attend,
                {**attend, "ROWS": 128, "SPLITS": 8, "PROMPT_BLOCK": 4}, _INTEGERS | partial,
                ("query", "keys", "values", "out"), warps=8, stages=2),
        Variant("attend_undivided", attention._attend, {**attend, "ROWS": 128, "SPLITS": 1}, _INTEGERS | partial,
                ("query", "keys", "values", "out"), warps=8, stages=2),
        Variant("join", attention._join, {"D": _HEAD_DIM, "SPLITS": 16},
                {"partial": "*fp32", "peaks": "*fp32", "sums": "*fp32"}, ("out",), warps=1),
        Variant("swiglu", mlp._swiglu, {"BLOCK": mlp._BLOCK}, {}, ("gate_up", "out")),
        Variant("narrow_draft", draft._narrow,
                {"TOKENS": draft._TOKENS, "RANKS": draft._RANKS, "FEATURES": draft._FEATURES, "PARTS": draft._PARTS,
                 "PRECISE": False},
                {**_INTEGERS, "draft_adapter": "*i1", "narrow": "*fp32"}, ("x", "lora_a")),
        Variant("add_draft", draft._add_draft,
                {"R": _RANK, "TOKENS": draft._TOKENS, "OUTPUTS": draft._OUTPUTS, "PARTS": draft._PARTS,
                 "PRECISE": False},
                {**_INTEGERS, "draft_adapter": "*i1", "narrow": "*fp32"}, ("projected", "lora_b")),
        _product("int4_token", "int4", 16), _product("int4_block", "int4", 32), _product("fp4_token", "fp4", 16),
        _product("fp8_token", "fp8", 16), _product("fp8_block", "fp8", 32),
        Variant("unpack_int4", unpack._unpack, {"FORM": "int4", "OUTPUTS": unpack._OUTPUTS, "BLOCK": few.BLOCK},
                {"weight": "*u8", "row_scale": "*fp32"}, ("scale", "out")),
        Variant("quantize_fp8", fp8._quantize,
                {"PER_TOKEN": True, "BLOCK": block, "MAX": fp8._MAX, "TINY": fp8._TINY},
                {"values": "*fp8e4nv", "steps": "*fp32", "static": "fp32"}, ("x",), warps=8),
        Variant("window_inputs", window._window_inputs, {"WINDOW": 32, "LISTED": CANDIDATES, "SHIFT": 0},
                {**_INTEGERS, **dict.fromkeys(
                    ("logit_rows", "token_ids", "drafted_ids", "block", "position", "valid", "verify_valid", "stream",
                     "listed"), "*i32"), "rejection": "*i1", "proposes": "*i1", "rows": "*i64"}, warps=1),
    )  # fmt: skip


def _product(name: str, form: str, tokens: int) -> Variant:
    """A product of few tokens whose input features are divided."""
    tile = few.TILES[form]
    types = {"weight": "*u8", "partial": "*fp32", "arrived": "*i32", "row_scale": "*fp32", "steps": "*fp32"}
    types |= {"fp8": {"weight": "*fp8e4nv", "x": "*fp8e4nv"}, "fp4": {"scale": "*fp8e4nv"}}.get(form, {})
    constants = {
        "FORM": form, "TOKENS": tokens, "OUTPUTS": tile.outputs, "FEATURES": tile.features, "DIVIDED": True,
        "GROUP": 16 if form == "fp4" else 0, "PRECISE": False,
    }  # fmt: skip
    activations = tuple(name for name in ("x", "scale", "out") if name not in types)
    return Variant(name, few._few, constants, types, activations, tile.warps, tile.stages)


def compile_ahead(variant: Variant, capability: str, activation: str = "bf16") -> Resources:
    """Compile one kernel, with or without a GPU, and return what it takes.

    Args:
        capability: such as ``9.0``.
        activation: Triton's name of the activation precision.
    """
    signature = {
        name: "constexpr" if name in variant.constants
        else f"*{activation}" if name in variant.activations
        else variant.types.get(name, "i32")
        for name in variant.kernel.arg_names
    }  # fmt: skip
    places = {(variant.kernel.arg_names.index(name),): value for name, value in variant.constants.items()}
    # Tensors are aligned, and the sizes that are specialized for are multiples of 16, as they are at run time.
    free = variant.kernel.params
    aligned = {
        (index,): [["tt.divisibility", 16]]
        for index, (name, type_name) in enumerate(signature.items())
        if type_name.startswith("*") or (type_name == "i32" and not free[index].do_not_specialize)
    }
    source = ASTSource(fn=variant.kernel, signature=signature, constexprs=places, attrs=aligned)
    target = GPUTarget("cuda", int(capability.replace(".", "")), 32)
    compiled = triton.compile(source, target=target, options={"num_warps": variant.warps, "num_stages": variant.stages})
    (resources,) = read_cubin(compiled.asm["cubin"]).values()
    return resources

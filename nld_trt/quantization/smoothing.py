# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Where the input scales of AWQ go: into what computes the input, exactly.

AWQ quantizes W · diag(1 / s) and expects s ∘ x. Layers that read the same norm must agree on s before it can
become part of the norm; o_proj and down_proj keep theirs in the checkpoint, in a form that an engine can move
into v_proj and up_proj.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nld_trt.model.config import ModelConfig
from nld_trt.quantization.modelopt import quietly

# Norm -> the linear layers that read it and nothing else.
READERS: dict[str, tuple[str, ...]] = {
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
}
OUTPUT_PROJECTION = "self_attn.o_proj"


def share_scales(layer: nn.Module, config: ModelConfig, norm_dtype: torch.dtype) -> None:
    """Give the readers of each norm one set of scales, and move AWQ's input scales where they belong.

    Args:
        layer: one decoder layer after calibration, in float32; norms and weights are changed in place.
        norm_dtype: in which the norms will be stored.
    """
    from modelopt.torch.export.quant_utils import get_quantization_format, preprocess_linear_fusion

    for norm, names in READERS.items():
        linears = [layer.get_submodule(name) for name in names]
        with quietly():
            formats = {get_quantization_format(linear) for linear in linears}
            if len(formats) != 1 or None in formats:
                continue
            # One input scale for all readers (AWQ: the mean; static FP8: the largest), as fused kernels need it.
            preprocess_linear_fusion(linears)
        if input_scale(linears[0]) is not None:
            fold_into_norm(layer.get_submodule(norm), linears, norm_dtype)
    output = layer.get_submodule(OUTPUT_PROJECTION)
    if input_scale(output) is not None:
        share_within_groups(output, config)


def fold_into_norm(norm: nn.Module, linears: list[nn.Module], norm_dtype: torch.dtype) -> None:
    """Multiply the readers' common input scale into the norm's weight.

    The folded weight is rounded to ``norm_dtype`` first and the scale is taken back from it, so that the
    quantized weights are made for the norm as it is stored: nothing is lost to the rounding.
    """
    scale = input_scale(linears[0])
    assert scale is not None
    weight: Tensor = norm.get_parameter("weight").detach()
    folded = (weight * scale).to(norm_dtype).to(weight.dtype)
    # An input that is always zero needs no scale; one that rounding would silence keeps its own.
    usable = (weight != 0) & (folded != 0) & folded.isfinite()
    folded = torch.where(usable, folded, weight)
    exact = torch.where(usable, folded / weight, torch.ones_like(weight))
    for linear in linears:
        rescale(linear, exact)
        quantizer: Any = linear.input_quantizer
        del quantizer._pre_quant_scale
    norm.weight = nn.Parameter(folded, requires_grad=False)


def share_within_groups(output: nn.Module, config: ModelConfig) -> None:
    """Average the input scale of ``o_proj`` over the query heads that read the same values.

    Attention is linear in the values, so a scale that these heads share can be moved into ``v_proj``.
    """
    scale = input_scale(output)
    assert scale is not None
    heads = scale.view(config.num_key_value_heads, -1, config.head_dim)
    rescale(output, heads.mean(dim=1, keepdim=True).expand_as(heads).reshape(-1))


def rescale(linear: nn.Module, scale: Tensor) -> None:
    """Replace a linear's AWQ input scale by ``scale`` [I]: its weights are rescaled and their ranges taken again."""
    from modelopt.torch.quantization.model_calib import max_calibrate

    old = input_scale(linear)
    assert old is not None
    module: Any = linear
    with torch.no_grad(), quietly():
        module.weight = nn.Parameter(module.weight * (old / scale), requires_grad=False)
        module.input_quantizer.pre_quant_scale = scale
        module.weight_quantizer.reset_amax()
        max_calibrate(module, lambda one: one.weight_quantizer(one.weight))


def input_scale(linear: nn.Module) -> Tensor | None:
    """AWQ's scale [I] of a linear layer, or None when it has none."""
    scale = getattr(getattr(linear, "input_quantizer", None), "_pre_quant_scale", None)
    return None if scale is None else scale.reshape(-1)

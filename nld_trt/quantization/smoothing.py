# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Where the input scales of AWQ go: into what computes the input, exactly.

AWQ quantizes W · diag(1 / s) and expects s ∘ x. Layers that read the same norm must agree on s before it can
become part of the norm, and o_proj on one s for the query heads that read the same values, so that an engine can
move it into v_proj. ModelOpt searches every layer alone; here the findings of its searches are combined first, so
that layers with one input are scaled as the one matrix that they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
            if input_scale(linears[0]) is None:
                # Static FP8: the largest range for all readers, as fused kernels need it.
                preprocess_linear_fusion(linears)
                continue
        fold_into_norm(layer.get_submodule(norm), linears, norm_dtype)
    output = layer.get_submodule(OUTPUT_PROJECTION)
    if input_scale(output) is not None:
        share_within_groups(output, config)


@dataclass(frozen=True)
class Search:
    """What ``awq_lite`` found out about one linear layer [O, I].

    Attributes:
        activations: [I] mean magnitude of the input.
        weights: [I] mean magnitude of the weights relative to the largest of their group.
        losses: mean squared output error by the exponent alpha that was tried.
        rows: O.
    """

    activations: Tensor
    weights: Tensor
    losses: Mapping[float, float]
    rows: int

    @classmethod
    def of(cls, linear: nn.Module) -> Search:
        """Read what ``awq_lite`` leaves on a layer when its ``debug`` is set."""
        module: Any = linear
        found = module.awq_lite
        return cls(found.act_scale, found.weight_scale, found.loss, module.weight.shape[0])


def joint_scale(searches: Sequence[Search]) -> Tensor:
    """AWQ's input scale [I] for layers with one input, as if their weights were one matrix (AWQ, section 3.2).

    1 / s = activations^alpha / weights^(1 - alpha), with a geometric middle of one, and the alpha that had the
    least squared error over all their outputs.
    """
    rows = sum(search.rows for search in searches)
    weights = torch.stack([search.weights * (search.rows / rows) for search in searches]).sum(dim=0)
    losses = {alpha: sum(search.losses[alpha] * search.rows for search in searches) for alpha in searches[0].losses}
    alpha = min(losses, key=losses.__getitem__)
    smallest = torch.finfo(torch.float32).tiny
    raw = (searches[0].activations.pow(alpha) / (weights.pow(1 - alpha) + smallest)).clamp(1e-4, 1e4)
    return (raw.max() * raw.min()).sqrt() / raw


def fold_into_norm(norm: nn.Module, linears: Sequence[nn.Module], norm_dtype: torch.dtype) -> None:
    """Multiply one input scale for all ``linears``, the readers of ``norm``, into its weight.

    The folded weight is rounded to ``norm_dtype`` first and the scale is taken back from it, so that the
    quantized weights are made for the norm as it is stored: nothing is lost to the rounding.
    """
    scale = joint_scale([Search.of(linear) for linear in linears])
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
    """Give ``o_proj`` one input scale for the query heads that read the same values.

    Attention is linear in the values, so a scale that these heads share can be moved into ``v_proj``.
    """
    found = Search.of(output)
    heads = (config.num_key_value_heads, config.num_attention_heads // config.num_key_value_heads, config.head_dim)

    def shared(part: Tensor) -> Tensor:
        return part.view(heads).mean(dim=1, keepdim=True).expand(heads).reshape(-1)

    means = replace(found, activations=shared(found.activations), weights=shared(found.weights))
    rescale(output, joint_scale([means]))


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

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Moves the input scales of AWQ into the operation that computes the input, without changing the result.

AWQ quantizes W · diag(1 / s) and expects s ∘ x. Layers that read the same norm must share s before it can become
part of the norm, and o_proj must have the same s for query heads that read the same values, so that an engine can
move it into v_proj. ModelOpt searches the scale of every layer alone. This module combines the results of these
searches first, so that layers with the same input are scaled as one matrix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from nld_trt.model.config import ModelConfig
from nld_trt.quantization.modelopt import quietly

# Norms, with the linear layers that are the only readers of each.
READERS: dict[str, tuple[str, ...]] = {
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
}
OUTPUT_PROJECTION = "self_attn.o_proj"


def share_scales(layer: nn.Module, config: ModelConfig, norm_dtype: torch.dtype) -> None:
    """Give the readers of each norm one set of scales, and move AWQ's input scales into the norms.

    Args:
        layer: one decoder layer after calibration, in float32; norms and weights are changed in place.
        norm_dtype: dtype in which the norms will be stored.
    """
    from modelopt.torch.export.quant_utils import get_quantization_format, preprocess_linear_fusion

    for norm, names in READERS.items():
        linears = [layer.get_submodule(name) for name in names]
        with quietly():
            formats = {get_quantization_format(linear) for linear in linears}
            if len(formats) != 1 or None in formats:
                continue
            if input_scale(linears[0]) is None:
                # In static FP8 all readers get the largest range, because fused kernels need a common one.
                preprocess_linear_fusion(linears)
                continue
        fold_into_norm(layer.get_submodule(norm), linears, norm_dtype)
    output = layer.get_submodule(OUTPUT_PROJECTION)
    if input_scale(output) is not None:
        share_within_groups(output, config)


@dataclass(frozen=True)
class Search:
    """The result of the ``awq_lite`` search for one linear layer [O, I].

    Attributes:
        activations: [I] mean magnitude of the input.
        weights: [I] mean magnitude of the weights relative to the largest of their group.
        losses: mean squared output error for each exponent alpha that was tried.
        rows: output features, O.
    """

    activations: Tensor
    weights: Tensor
    losses: Mapping[float, float]
    rows: int

    @classmethod
    def of(cls, linear: nn.Module) -> Search:
        """Read the results that ``awq_lite`` leaves on a layer when its ``debug`` option is set."""
        module: Any = linear
        found = module.awq_lite
        return cls(found.act_scale, found.weight_scale, found.loss, module.weight.shape[0])


def joint_scale(searches: Sequence[Search]) -> Tensor:
    """Compute AWQ's input scale [I] for layers with the same input, as if they were one matrix (AWQ, section 3.2).

    1 / s = activations^alpha / weights^(1 - alpha), normalised so that the geometric mean of its largest and smallest
    value is one, with the alpha of the least squared error over all outputs.
    """
    rows = sum(search.rows for search in searches)
    weights = torch.stack([search.weights * (search.rows / rows) for search in searches]).sum(dim=0)
    losses = {alpha: sum(search.losses[alpha] * search.rows for search in searches) for alpha in searches[0].losses}
    alpha = min(losses, key=losses.__getitem__)
    smallest = torch.finfo(torch.float32).tiny
    raw = (searches[0].activations.pow(alpha) / (weights.pow(1 - alpha) + smallest)).clamp(1e-4, 1e4)
    return (raw.max() * raw.min()).sqrt() / raw


def fold_into_norm(norm: nn.Module, linears: Sequence[nn.Module], norm_dtype: torch.dtype) -> None:
    """Multiply the weight of ``norm`` by one input scale for all ``linears``, which are its readers.

    The new weight is rounded to ``norm_dtype``, and the scale is recomputed from it. The quantized weights thus fit the
    norm as it is stored, and the rounding adds no error.
    """
    scale = joint_scale([Search.of(linear) for linear in linears])
    weight: Tensor = norm.get_parameter("weight").detach()
    folded = (weight * scale).to(norm_dtype).to(weight.dtype)
    # An input that is always zero needs no scale. Where rounding would make the weight zero, the old weight is kept.
    usable = (weight != 0) & (folded != 0) & folded.isfinite()
    folded = torch.where(usable, folded, weight)
    exact = torch.where(usable, folded / weight, torch.ones_like(weight))
    for linear in linears:
        rescale(linear, exact)
        quantizer: Any = linear.input_quantizer
        del quantizer._pre_quant_scale
    norm.weight = nn.Parameter(folded, requires_grad=False)


def share_within_groups(output: nn.Module, config: ModelConfig) -> None:
    """Give ``o_proj`` the same input scale for all query heads that read the same values.

    Attention is linear in the values, so a scale that these heads share can be moved into ``v_proj``.
    """
    found = Search.of(output)
    heads = (config.num_key_value_heads, config.num_attention_heads // config.num_key_value_heads, config.head_dim)

    def shared(part: Tensor) -> Tensor:
        return part.view(heads).mean(dim=1, keepdim=True).expand(heads).reshape(-1)

    means = replace(found, activations=shared(found.activations), weights=shared(found.weights))
    rescale(output, joint_scale([means]))


def rescale(linear: nn.Module, scale: Tensor) -> None:
    """Replace a layer's AWQ input scale by ``scale`` [I], rescale its weights and measure their ranges again."""
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
    """Returns AWQ's input scale [I] of a linear layer, or None if it has none."""
    scale = getattr(getattr(linear, "input_quantizer", None), "_pre_quant_scale", None)
    return None if scale is None else scale.reshape(-1)

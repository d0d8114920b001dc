# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Moving AWQ's input scales changes nothing that a layer computes."""

from __future__ import annotations

import copy

import pytest
import torch

from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.config import ModelConfig
from nld_trt.model.network import Layer, LayerCache, position_terms
from nld_trt.quantization.modelopt import quietly
from nld_trt.quantization.smoothing import READERS, share_scales

AWQ = {
    "quant_cfg": [
        {"quantizer_name": "*", "enable": False},
        {"quantizer_name": "*weight_quantizer", "cfg": {"num_bits": 4, "block_sizes": {-1: 32, "type": "static"}}},
    ],
    "algorithm": {"method": "awq_lite", "alpha_step": 0.25, "debug": True},
}


@pytest.fixture(scope="module")
def config(converted) -> ModelConfig:
    return Checkpoint.open_converted(converted("nld-tiny")).config


@pytest.fixture(scope="module")
def rows(config):
    """Layer input with a few loud channels, which is what AWQ is for."""
    torch.manual_seed(0)
    x = torch.randn(1, 24, config.hidden_size)
    x[..., ::17] *= 12
    return x


@pytest.fixture(scope="module")
def calibrated(config, rows):
    """A random layer with its norm in BF16 values, and a copy that AWQ has calibrated."""
    import modelopt.torch.quantization as mtq

    torch.manual_seed(1)
    layer = Layer(config).eval().requires_grad_(False)
    for norm in READERS:
        weight = layer.get_submodule(norm).weight
        weight.copy_((torch.rand_like(weight) + 0.5).bfloat16().float())
    layer.self_attn.attach(torch.randn(4, config.query_size) * 0.1, torch.randn(config.hidden_size, 4) * 0.1, 2.0)
    smoothed = copy.deepcopy(layer)
    with quietly():
        mtq.quantize(smoothed, copy.deepcopy(AWQ), lambda module: forward(module, rows, config))
    return layer, smoothed


def forward(layer, x, config):
    positions = torch.arange(x.shape[1])[None]
    inverse = 1e4 ** -(torch.arange(config.head_dim // 2) * 2 / config.head_dim)
    mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()[None, None]
    with torch.no_grad():
        return layer(x, *position_terms(config, inverse, positions, x.dtype), mask, LayerCache(), torch.ones(1, 24, 1))[
            0
        ]


def without_rounding(layer):
    """The layer with its input scales at work and its weight quantizers off."""
    for module in layer.modules():
        if hasattr(module, "weight_quantizer"):
            module.weight_quantizer.disable()
    return layer


def test_layer_computes_the_same_when_nothing_is_rounded(calibrated, config, rows) -> None:
    layer, smoothed = copy.deepcopy(calibrated)
    share_scales(smoothed, config, torch.bfloat16)
    torch.testing.assert_close(
        forward(without_rounding(smoothed), rows, config), forward(layer, rows, config), rtol=1e-4, atol=1e-4
    )


def test_readers_of_a_norm_lose_their_scales_to_it(calibrated, config) -> None:
    layer, smoothed = copy.deepcopy(calibrated)
    share_scales(smoothed, config, torch.bfloat16)
    for norm, readers in READERS.items():
        assert not torch.equal(smoothed.get_submodule(norm).weight, layer.get_submodule(norm).weight)
        assert all(smoothed.get_submodule(name).input_quantizer.pre_quant_scale is None for name in readers)


def test_folded_norm_survives_being_stored(calibrated, config) -> None:
    _, smoothed = copy.deepcopy(calibrated)
    share_scales(smoothed, config, torch.bfloat16)
    for norm in READERS:
        weight = smoothed.get_submodule(norm).weight
        assert torch.equal(weight.bfloat16().float(), weight)


def test_query_heads_of_one_key_value_head_share_their_scale(calibrated, config) -> None:
    _, smoothed = copy.deepcopy(calibrated)
    share_scales(smoothed, config, torch.bfloat16)
    scale = smoothed.self_attn.o_proj.input_quantizer.pre_quant_scale.reshape(
        config.num_key_value_heads, -1, config.head_dim
    )
    assert torch.equal(scale, scale[:, :1].expand_as(scale))
    assert scale.unique().numel() > 1


def test_silent_channels_of_a_norm_stay_silent_and_finite(calibrated, config, rows) -> None:
    import modelopt.torch.quantization as mtq

    layer = copy.deepcopy(calibrated[0])
    layer.input_layernorm.weight[3] = 0
    smoothed = copy.deepcopy(layer)
    with quietly():
        mtq.quantize(smoothed, copy.deepcopy(AWQ), lambda module: forward(module, rows, config))
    share_scales(smoothed, config, torch.bfloat16)
    assert smoothed.input_layernorm.weight[3] == 0
    assert all(smoothed.get_submodule(name).weight.isfinite().all() for name in READERS["input_layernorm"])

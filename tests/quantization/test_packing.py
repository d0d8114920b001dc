# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What is stored means what ModelOpt calibrated."""

from __future__ import annotations

import copy

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import nn

from nld_trt.model.quantized.formats import LinearFormat, QuantizedWeight
from nld_trt.quantization.modelopt import quietly
from nld_trt.quantization.packing import pack, to_numpy, to_torch
from nld_trt.quantization.recipe import Recipe
from tests.quantized_checkpoint import effective

OUTPUTS, INPUTS = 48, 256
FORMATS = {
    "int4_rtn": LinearFormat.named("W4A16_AWQ", 128),
    "int4_awq": LinearFormat.named("W4A16_AWQ", 128),
    "fp8": LinearFormat.named("FP8"),
    "fp8_pc_pt": LinearFormat.named("FP8_PER_CHANNEL_PER_TOKEN"),
    "w4a16_nvfp4": LinearFormat.named("W4A16_NVFP4", 16),
}


def calibrated(name: str, weight: torch.Tensor, inputs: torch.Tensor) -> nn.Linear:
    import modelopt.torch.quantization as mtq

    recipe = Recipe.shipped(name)
    linear = nn.Linear(INPUTS, OUTPUTS, bias=False).requires_grad_(False)
    linear.weight.copy_(weight)
    config = {"quant_cfg": copy.deepcopy(list(recipe.entries)), "algorithm": dict(recipe.algorithm)}
    with quietly(), torch.no_grad():
        mtq.quantize(linear, config, lambda module: module(inputs))
    return linear


@pytest.fixture
def weight():
    torch.manual_seed(0)
    return torch.randn(OUTPUTS, INPUTS) * 0.05


@pytest.fixture
def inputs():
    torch.manual_seed(1)
    return torch.randn(40, INPUTS) * torch.linspace(0.1, 5, INPUTS)


# NVFP4 has no such test: ModelOpt emulates its rounding on CUDA only.
@pytest.mark.parametrize("name", [name for name in FORMATS if "nvfp4" not in name])
def test_stored_weight_is_the_one_modelopt_calibrated(name: str, weight, inputs) -> None:
    linear = calibrated(name, weight, inputs)
    stored = QuantizedWeight.from_tensors(FORMATS[name], pack(linear, FORMATS[name]))
    with torch.no_grad():
        rounded = linear.weight_quantizer(linear.weight)
    np.testing.assert_allclose(stored.dequantized(), rounded.numpy(), rtol=1e-5, atol=1e-7)


def test_nvfp4_weight_is_the_nearest_of_its_values(weight, inputs) -> None:
    linear = calibrated("w4a16_nvfp4", weight, inputs)
    stored = QuantizedWeight.from_tensors(FORMATS["w4a16_nvfp4"], pack(linear, FORMATS["w4a16_nvfp4"]))
    scale = stored.block_scale[..., None]
    nearest = (weight.numpy().reshape(OUTPUTS, -1, 16) / scale).astype(ml_dtypes.float4_e2m1fn).astype(
        np.float32
    ) * scale
    np.testing.assert_allclose(stored.dequantized(), nearest.reshape(OUTPUTS, INPUTS), atol=1e-6)


@pytest.mark.parametrize("name", FORMATS)
def test_stored_tensors_are_those_of_the_format(name: str, weight, inputs) -> None:
    specs = FORMATS[name].tensors("m", OUTPUTS, INPUTS)
    stored = {f"m.{part}": tensor for part, tensor in pack(calibrated(name, weight, inputs), FORMATS[name]).items()}
    assert stored.keys() >= {part for part, spec in specs.items() if not spec.optional}
    assert all(tensor.shape == specs[part].shape for part, tensor in stored.items())


def test_static_input_scale_is_the_largest_input_over_the_range(weight, inputs) -> None:
    stored = pack(calibrated("fp8", weight, inputs), FORMATS["fp8"])
    np.testing.assert_allclose(stored["input_scale"], inputs.abs().max() / 448, rtol=1e-6)


@pytest.mark.parametrize("name", ["int4_rtn", "w4a16_nvfp4"])
def test_group_of_zeros_stays_zero(name: str, weight, inputs) -> None:
    weight[5, :128] = 0
    stored = QuantizedWeight.from_tensors(FORMATS[name], pack(calibrated(name, weight, inputs), FORMATS[name]))
    assert np.all(stored.dequantized()[5, :128] == 0)
    assert np.isfinite(stored.dequantized()).all()


def test_awq_reproduces_the_layer_better_than_rounding(weight, inputs) -> None:
    exact = inputs.numpy() @ weight.numpy().T

    def error(name: str) -> float:
        stored = QuantizedWeight.from_tensors(FORMATS[name], pack(calibrated(name, weight, inputs), FORMATS[name]))
        return float(np.square(inputs.numpy() @ effective(stored).T - exact).mean())

    assert error("int4_awq") < error("int4_rtn")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.uint8])
@pytest.mark.parametrize("shape", [(), (3,), (2, 4)])
def test_tensors_cross_between_libraries_unchanged(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = (torch.arange(int(np.prod(shape))).reshape(shape)).to(dtype)
    back = to_torch(to_numpy(tensor))
    assert back.dtype == dtype
    assert back.shape == tensor.shape
    assert torch.equal(back.float(), tensor.float())

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A calibrated linear layer as the tensors of ModelOpt's unified Hugging Face export."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import torch
from torch import Tensor, nn

from nld_trt.model.quantized.formats import INPUT_SCALE, PRE_QUANT_SCALE, WEIGHT_SCALE, WEIGHT_SCALE_2, LinearFormat
from nld_trt.model.safetensors_file import Array
from nld_trt.quantization.modelopt import quietly

# A group of weights that are all zero has no range; ModelOpt would divide by it.
_SMALLEST_RANGE = 1e-30

# torch dtypes that NumPy has no name for: the integer view that they travel through, and their NumPy type.
_VIEWS: dict[torch.dtype, tuple[torch.dtype, np.dtype[Any]]] = {
    torch.bfloat16: (torch.int16, np.dtype(ml_dtypes.bfloat16)),
    torch.float8_e4m3fn: (torch.uint8, np.dtype(ml_dtypes.float8_e4m3fn)),
}


def pack(linear: nn.Module, format: LinearFormat) -> dict[str, Array]:
    """The tensors of a calibrated ``linear``, by the last part of their names; shapes as ``format`` says."""
    from modelopt.torch.export import quant_utils

    module: Any = linear
    outputs, inputs = module.weight.shape
    with torch.no_grad(), quietly():
        if format.algorithm.name == "W4A16_AWQ":
            module.weight_quantizer.amax = module.weight_quantizer.amax.clamp(min=_SMALLEST_RANGE)
        scale = quant_utils.get_weight_scaling_factor(module)
        scale_2 = quant_utils.get_weight_scaling_factor_2(module)
        weight = quant_utils.to_quantized_weight(
            module.weight,
            scale,
            quant_utils.get_quantization_format(module),
            scale_2,
            quant_utils.get_weight_block_size(module),
        )
        found = {
            "weight": weight,
            WEIGHT_SCALE: scale,
            WEIGHT_SCALE_2: scale_2,
            INPUT_SCALE: quant_utils.get_activation_scaling_factor(module),
            PRE_QUANT_SCALE: quant_utils.get_prequant_scaling_factor(module),
        }
    expected = format.tensors("", outputs, inputs)
    return {
        name: to_numpy(tensor).reshape(expected[f".{name}"].shape)
        for name, tensor in found.items()
        if tensor is not None and f".{name}" in expected
    }


def to_numpy(tensor: Tensor) -> Array:
    """A tensor of any dtype that safetensors can hold, on the host and in row-major order."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype not in _VIEWS:
        array: Array = tensor.numpy()
        return array
    view, dtype = _VIEWS[tensor.dtype]
    # A scalar has no bytes to view until it has an axis.
    flat: Array = tensor.reshape(-1).view(view).numpy().view(dtype)
    return flat.reshape(tensor.shape)


def to_torch(array: Array) -> Tensor:
    """The inverse of :func:`to_numpy`, sharing memory where it can."""
    for torch_dtype, (view, dtype) in _VIEWS.items():
        if array.dtype == dtype:
            integers = array.reshape(-1).view(np.uint8 if view == torch.uint8 else np.int16)
            return torch.from_numpy(integers).view(torch_dtype).reshape(array.shape)
    return torch.from_numpy(array)

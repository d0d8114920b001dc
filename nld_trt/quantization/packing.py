# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Packs a calibrated linear layer into the tensors of ModelOpt's unified Hugging Face export."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import torch
from torch import Tensor, nn

from nld_trt.model.quantized.formats import INPUT_SCALE, PRE_QUANT_SCALE, WEIGHT_SCALE, WEIGHT_SCALE_2, LinearFormat
from nld_trt.model.safetensors_file import Array
from nld_trt.quantization.modelopt import quietly

# The least range of a group of weights. ModelOpt would divide by the range 0 of weights that are all zero.
_SMALLEST_RANGE = 1e-30

# torch dtypes that NumPy lacks, with the integer type of the view that is converted, and their type in ml_dtypes.
_VIEWS: dict[torch.dtype, tuple[torch.dtype, np.dtype[Any]]] = {
    torch.bfloat16: (torch.int16, np.dtype(ml_dtypes.bfloat16)),
    torch.float8_e4m3fn: (torch.uint8, np.dtype(ml_dtypes.float8_e4m3fn)),
}


def pack(linear: nn.Module, format: LinearFormat) -> dict[str, Array]:
    """Make the tensors of a calibrated ``linear``, by the last part of their names, in the shapes of ``format``."""
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
    """Convert a tensor of any dtype of safetensors to an array on the host, in row-major order."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype not in _VIEWS:
        array: Array = tensor.numpy()
        return array
    view, dtype = _VIEWS[tensor.dtype]
    # A scalar needs an axis before it can be viewed as another type.
    flat: Array = tensor.reshape(-1).view(view).numpy().view(dtype)
    return flat.reshape(tensor.shape)


def to_torch(array: Array) -> Tensor:
    """Convert an array to a tensor, which shares its memory where possible. It is the inverse of :func:`to_numpy`."""
    for torch_dtype, (view, dtype) in _VIEWS.items():
        if array.dtype == dtype:
            integers = array.reshape(-1).view(np.uint8 if view == torch.uint8 else np.int16)
            return torch.from_numpy(integers).view(torch_dtype).reshape(array.shape)
    return torch.from_numpy(array)

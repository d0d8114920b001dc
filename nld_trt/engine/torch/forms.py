# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The forms in which a linear layer is stored in an engine of the ``torch`` backend.

A form is what kernels read: weights have one row for each output feature, 4-bit values are packed two to a byte along
the input features, and scales that were one for a whole matrix are repeated for each row, so that the matrices that
read the same input can be stacked. Every quantization algorithm has one form.

Shapes: O output features, I input features, G input features per group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import ml_dtypes
import numpy as np

from nld_trt.graph.precision import Precision
from nld_trt.model.quantized.formats import Float32, QuantizedWeight
from nld_trt.model.safetensors_file import Array

# How the input of a layer is rounded before the product.
Rounding = Literal["none", "fp8", "fp8_per_token", "fp4"]

WEIGHT, SCALE, ROW_SCALE = "weight", "scale", "row_scale"

_FP8 = np.dtype(ml_dtypes.float8_e4m3fn)


@dataclass(frozen=True)
class Form:
    """One way to store a linear layer.

    Attributes:
        tensors: function from (O, I, G) and the activation type to the type and shape of each tensor.
        pack: function from a quantized layer, a factor [O] on its output and the activation precision to the tensors.
        rounding: of the input.
    """

    name: str
    tensors: Callable[[int, int, int, np.dtype[np.generic]], Mapping[str, tuple[np.dtype[np.generic], tuple[int, ...]]]]
    pack: Callable[[QuantizedWeight, Float32 | None, Precision], dict[str, Array]]
    rounding: Rounding = "none"


def pack_pairs(codes: Array) -> Array:
    """Pack 4-bit codes [O, I] uint8 into bytes [O, I / 2], the even column in the low half."""
    packed: Array = codes[:, ::2] & 0xF | codes[:, 1::2] << 4
    return packed


def _rows(scale: Float32, outputs: int, factor: Float32 | None) -> Float32:
    """A scale for each output feature, [O]."""
    rows = np.broadcast_to(scale.reshape(-1), (outputs,)).astype(np.float32)
    return rows if factor is None else rows * factor


def _pack_int4(weight: QuantizedWeight, factor: Float32 | None, precision: Precision) -> dict[str, Array]:
    scale = weight.scale if factor is None else weight.scale * factor[:, None]
    return {WEIGHT: pack_pairs(weight.values.view(np.uint8)), SCALE: scale.astype(precision.numpy_type)}


def _pack_fp8(weight: QuantizedWeight, factor: Float32 | None, precision: Precision) -> dict[str, Array]:
    return {WEIGHT: weight.values, ROW_SCALE: _rows(weight.scale, len(weight.values), factor)}


def _pack_fp4(weight: QuantizedWeight, factor: Float32 | None, precision: Precision) -> dict[str, Array]:
    assert weight.scale_2 is not None
    assert factor is None, "scales in FP8 take no factor"
    return {
        WEIGHT: pack_pairs(weight.values.view(np.uint8)),
        SCALE: weight.scale.astype(_FP8),
        ROW_SCALE: _rows(np.full(1, weight.scale_2, np.float32), len(weight.values), None),
    }


def _float(weight: QuantizedWeight, factor: Float32 | None, precision: Precision) -> dict[str, Array]:
    raise AssertionError("a layer in high precision is read in pieces and not as a quantized weight")


_FLOAT32 = np.dtype(np.float32)
_BYTE = np.dtype(np.uint8)

FLOAT = Form("float", lambda o, i, g, activation: {WEIGHT: (activation, (o, i))}, _float)
INT4 = Form(
    "int4", lambda o, i, g, activation: {WEIGHT: (_BYTE, (o, i // 2)), SCALE: (activation, (o, i // g))}, _pack_int4
)
FP8 = Form("fp8", lambda o, i, g, activation: {WEIGHT: (_FP8, (o, i)), ROW_SCALE: (_FLOAT32, (o,))}, _pack_fp8, "fp8")
FP8_PER_TOKEN = Form("fp8_per_token", FP8.tensors, _pack_fp8, "fp8_per_token")
FP4 = Form(
    "fp4",
    lambda o, i, g, activation: {
        WEIGHT: (_BYTE, (o, i // 2)),
        SCALE: (_FP8, (o, i // g)),
        ROW_SCALE: (_FLOAT32, (o,)),
    },
    _pack_fp4,
)
FP4_BOTH = Form("fp4_both", FP4.tensors, _pack_fp4, "fp4")

FORMS: Mapping[str, Form] = {form.name: form for form in (FLOAT, INT4, FP8, FP8_PER_TOKEN, FP4, FP4_BOTH)}

# By quantization algorithm; None is high precision.
OF_ALGORITHM: Mapping[str | None, Form] = {
    None: FLOAT,
    "W4A16_AWQ": INT4,
    "FP8": FP8,
    "FP8_PER_CHANNEL_PER_TOKEN": FP8_PER_TOKEN,
    "W4A16_NVFP4": FP4,
    "NVFP4": FP4_BOTH,
}

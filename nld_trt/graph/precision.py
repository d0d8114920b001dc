# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Element types: the activation precisions, as users name them, and the types that store quantized weights."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np
import numpy.typing as npt
from onnx import TensorProto

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class ElementType:
    """How the elements of an initializer are stored.

    Attributes:
        numpy_type: a NumPy (or ml_dtypes) scalar type that holds one element.
        packed: two elements to a byte along the last axis, the earlier one in the low half.
    """

    name: str
    numpy_type: np.dtype[np.generic]
    onnx_type: int
    packed: bool = False

    def encode(self, values: Array) -> bytes:
        """The bytes of an initializer, row-major. ``values`` has ``numpy_type`` and, packed, an even last axis."""
        rows = np.ascontiguousarray(values)
        if not self.packed:
            return rows.tobytes()
        codes = rows.view(np.uint8)
        return (codes[..., ::2] & 0xF | codes[..., 1::2] << 4).tobytes()


@dataclass(frozen=True)
class Precision(ElementType):
    """One precision of activations and of weights that are not quantized."""

    @property
    def bytes(self) -> int:
        return self.numpy_type.itemsize


PRECISIONS: dict[str, Precision] = {
    precision.name: precision
    for precision in (
        Precision("fp32", np.dtype(np.float32), TensorProto.FLOAT),
        Precision("bf16", np.dtype(ml_dtypes.bfloat16), TensorProto.BFLOAT16),
        Precision("fp16", np.dtype(np.float16), TensorProto.FLOAT16),
    )
}

INT4 = ElementType("int4", np.dtype(np.int8), TensorProto.INT4, packed=True)
FP8 = ElementType("fp8", np.dtype(ml_dtypes.float8_e4m3fn), TensorProto.FLOAT8E4M3FN)
FP4 = ElementType("fp4", np.dtype(ml_dtypes.float4_e2m1fn), TensorProto.FLOAT4E2M1, packed=True)

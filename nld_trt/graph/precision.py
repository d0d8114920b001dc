# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Activation precisions, as names users type and types that the libraries want."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np
from onnx import TensorProto


@dataclass(frozen=True)
class Precision:
    """One activation and weight precision. ``numpy_type`` is a NumPy (or ml_dtypes) scalar type."""

    name: str
    numpy_type: np.dtype[np.generic]
    onnx_type: int

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

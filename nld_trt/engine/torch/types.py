# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""PyTorch's types for the names that the rest of the package uses."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from nld_trt import names

# By precision of an engine.
ACTIVATIONS: Mapping[str, torch.dtype] = {
    names.FP32: torch.float32,
    names.BF16: torch.bfloat16,
    names.FP16: torch.float16,
}

# By the name of a type in safetensors files.
STORED: Mapping[str, torch.dtype] = {
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F8_E4M3": torch.float8_e4m3fn,
    "I32": torch.int32,
    "U8": torch.uint8,
}

# By NumPy's name.
OF_NUMPY: Mapping[str, torch.dtype] = {
    "bool": torch.bool,
    "int32": torch.int32,
    "int64": torch.int64,
    "float16": torch.float16,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
}


def of_numpy(dtype: np.dtype[np.generic]) -> torch.dtype:
    """The same element type in PyTorch."""
    return OF_NUMPY[dtype.name]

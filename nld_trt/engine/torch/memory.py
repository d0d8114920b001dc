# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""PyTorch tensors on memory that a session owns, without a copy."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class _DeviceBytes:
    """Bytes on a GPU, for PyTorch to wrap."""

    address: int
    size: int

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": (self.size,), "typestr": "|u1", "data": (self.address, False), "version": 3}


def view(address: int, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The memory at ``address`` of the device as a contiguous tensor. The memory must outlive the tensor."""
    size = prod(shape) * dtype.itemsize
    if device.type == "cpu":
        memory = (ctypes.c_uint8 * size).from_address(address)
        return torch.frombuffer(memory, dtype=torch.uint8).view(dtype).reshape(shape)
    return torch.as_tensor(_DeviceBytes(address, size), device=device).view(dtype).reshape(shape)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The NVIDIA GPUs of this machine, asked of the driver without CUDA libraries and without a context."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

# CUdevice_attribute, cuda.h.
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_NAME_BYTES = 256


@dataclass(frozen=True)
class Gpu:
    """``compute_capability`` is written as in ``12.0``."""

    name: str
    compute_capability: str
    memory_bytes: int


def present_gpus() -> list[Gpu]:
    """The GPUs that a process started now can use, in CUDA's order; empty without a driver. Never raises.

    The driver library is asked first: unlike NVML it honours ``CUDA_VISIBLE_DEVICES`` and numbers the
    devices as engines will see them.
    """
    for ask in (_ask_driver, _ask_nvml):
        try:
            gpus = ask()
        except Exception:
            continue
        if gpus is not None:
            return gpus
    return []


def driver_cuda_version() -> str | None:
    """The newest CUDA whose code the driver takes, as in ``13.0``; None without a driver. Never raises."""
    try:
        number = _read_int(ctypes.CDLL("libcuda.so.1").cuDriverGetVersion)
    except (OSError, AttributeError):
        return None
    return cuda_version(number)


def cuda_version(number: int) -> str:
    """
    >>> cuda_version(13010)
    '13.1'
    """
    return f"{number // 1000}.{number % 1000 // 10}"


def _ask_driver() -> list[Gpu] | None:
    """None if there is no driver library; an empty list if it sees no device."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    if cuda.cuInit(0) != 0:
        return []
    count = _read_int(cuda.cuDeviceGetCount)
    return [_describe(cuda, _read_int(cuda.cuDeviceGet, index)) for index in range(count)]


def _describe(cuda: Any, device: int) -> Gpu:
    name = ctypes.create_string_buffer(_NAME_BYTES)
    memory = ctypes.c_size_t()
    _check(cuda.cuDeviceGetName(name, _NAME_BYTES, device))
    _check(cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device))
    major, minor = (
        _read_int(cuda.cuDeviceGetAttribute, attribute, device) for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR)
    )
    return Gpu(name.value.decode(errors="replace"), f"{major}.{minor}", memory.value)


def _read_int(function: Any, *arguments: int) -> int:
    value = ctypes.c_int()
    _check(function(ctypes.byref(value), *arguments))
    return value.value


def _check(status: int) -> None:
    if status != 0:
        raise OSError(f"the CUDA driver answered with status {status}")


def _ask_nvml() -> list[Gpu] | None:
    try:
        import pynvml
    except ImportError:
        return None
    pynvml.nvmlInit()
    try:
        return [_describe_nvml(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def _describe_nvml(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name = nvml.nvmlDeviceGetName(handle)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle).total
    return Gpu(name.decode() if isinstance(name, bytes) else name, f"{major}.{minor}", int(memory))

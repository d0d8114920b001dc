# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Asking the driver for GPUs, with stand-ins for the driver's libraries."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace

import pytest

from nld_trt.machine import gpu
from nld_trt.machine.gpu import Gpu, driver_cuda_version, present_gpus

RTX_PRO = Gpu("NVIDIA RTX PRO 6000 Blackwell", "12.0", 96 << 30)
SPARK = Gpu("NVIDIA GB10", "12.1", 128 << 30)


class FakeDriver:
    """The calls of libcuda that are used, writing through pointers as it does."""

    def __init__(self, gpus, status=0):
        self.gpus = gpus
        self.status = status

    def cuInit(self, flags):
        return self.status

    def cuDeviceGetCount(self, count):
        count._obj.value = len(self.gpus)
        return 0

    def cuDeviceGet(self, device, index):
        device._obj.value = 10 + index
        return 0

    def cuDeviceGetName(self, name, size, device):
        name.value = self.gpus[device - 10].name.encode()
        return 0

    def cuDeviceTotalMem_v2(self, memory, device):
        memory._obj.value = self.gpus[device - 10].memory_bytes
        return 0

    def cuDeviceGetAttribute(self, value, attribute, device):
        major, minor = self.gpus[device - 10].compute_capability.split(".")
        value._obj.value = int({75: major, 76: minor}[attribute])
        return 0


class FakeNvml:
    """NVML's Python module; handles are the GPUs."""

    def __init__(self, gpus):
        self.gpus = gpus
        self.open = False

    def nvmlInit(self):
        self.open = True

    def nvmlShutdown(self):
        self.open = False

    def nvmlDeviceGetCount(self):
        assert self.open
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):
        return self.gpus[index]

    def nvmlDeviceGetName(self, handle):
        return handle.name.encode()

    def nvmlDeviceGetCudaComputeCapability(self, handle):
        return tuple(map(int, handle.compute_capability.split(".")))

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(total=handle.memory_bytes)


@pytest.fixture
def machine(monkeypatch):
    """Pretend which libraries this machine has; None is a library that is not there."""

    def pretend(driver, nvml=None):
        def load(name):
            assert name == "libcuda.so.1"
            if driver is None:
                raise OSError("cannot open shared object file")
            return driver

        monkeypatch.setattr(gpu.ctypes, "CDLL", load)
        monkeypatch.setitem(sys.modules, "pynvml", nvml)

    return pretend


def test_driver_describes_its_gpus_in_order(machine):
    machine(FakeDriver([RTX_PRO, SPARK]))
    assert present_gpus() == [RTX_PRO, SPARK]


def test_driver_decides_what_is_visible(machine):
    machine(FakeDriver([SPARK]), FakeNvml([RTX_PRO, SPARK]))
    assert present_gpus() == [SPARK]


def test_nvml_answers_where_the_driver_library_is_missing(machine):
    nvml = FakeNvml([RTX_PRO])
    machine(None, nvml)
    assert present_gpus() == [RTX_PRO]
    assert not nvml.open


NO_GPU = {
    "no library at all": (None, None),
    "driver without a device": (FakeDriver([], status=100), None),
    "driver that counts none": (FakeDriver([]), None),
    "libraries of another kind": (SimpleNamespace(), SimpleNamespace()),
}


@pytest.mark.parametrize("case", NO_GPU)
def test_no_gpu_is_an_empty_list(machine, case):
    machine(*NO_GPU[case])
    assert present_gpus() == []


def test_this_machine_can_be_asked():
    assert all(isinstance(found, Gpu) for found in present_gpus())
    assert ctypes.sizeof(ctypes.c_size_t) == 8, "memory sizes are read as size_t"


def test_driver_says_which_cuda_it_is_for(machine):
    class Versioned(FakeDriver):
        def cuDriverGetVersion(self, version):
            version._obj.value = 13020
            return 0

    machine(Versioned([]))
    assert driver_cuda_version() == "13.2"


def test_no_driver_is_for_no_cuda(machine):
    machine(None)
    assert driver_cuda_version() is None

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The yardstick of the benchmark: its kernels compiled, and run on the CPU; its timing on a stand-in for the driver."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from nld_trt.engine.gpu.kernels.image import CAPABILITIES, Image
from nld_trt.errors import InputError, OperationError
from nld_trt.machine.device import Device
from nld_trt.machine.nvrtc import Nvrtc
from nld_trt.measure.kernels import bandwidth
from nld_trt.measure.kernels.bandwidth import Memory
from tests.machine.fake_cuda import CUdevice_attribute, FakeCuda
from tests.measure.kernels import host_kernels

IMAGE = Image("9.0", b"machine code", b"", {}, "NVRTC 13.0")
BLOCKS = 4


@pytest.fixture
def fake(library, monkeypatch) -> FakeCuda:
    monkeypatch.setattr(bandwidth, "BUFFER_BYTES", BLOCKS * bandwidth.BLOCK_BYTES)
    monkeypatch.setattr(bandwidth, "FILL_BYTES", bandwidth.BLOCK_BYTES)
    monkeypatch.setattr(bandwidth, "LOAD_MILLISECONDS", 1e-3)
    return FakeCuda(host_kernels.host_kernels(library))


@pytest.mark.parametrize(
    "capability", [CAPABILITIES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in CAPABILITIES[1:])]
)
def test_kernels_move_whole_vectors_and_spill_nothing(capability) -> None:
    try:
        Nvrtc.load()
    except InputError as error:
        pytest.skip(error.what)
    image = bandwidth.compile_bandwidth(capability)
    assert set(image.resources) == {bandwidth.COPY_KERNEL, bandwidth.SUM_KERNEL}
    assert not any(found.spill_bytes for found in image.resources.values())
    text = image.ptx.decode()
    assert text.count("ld.global.nc.v4") == 2 * bandwidth.BATCH
    assert text.count("st.global.v4") == bandwidth.BATCH


def test_constants_are_those_of_the_source(root) -> None:
    text = (root / "nld_trt/measure/kernels" / bandwidth.SOURCE).read_text(encoding="utf-8")
    for name, value in (("kThreads", bandwidth.THREADS), ("kBatch", bandwidth.BATCH)):
        assert f"constexpr int {name} = {value};" in text


def test_kernels_copy_and_sum_on_threads_as_the_stand_in_does(threads_library) -> None:
    words = np.random.default_rng(0).integers(0, 1 << 32, 2 * bandwidth.BLOCK_BYTES // 4, np.uint32)
    # Aligned as an allocation of a GPU is.
    memory = np.zeros(len(words) + 64, np.uint32)
    source = memory[-(memory.ctypes.data // 4) % 64 :][: len(words)]
    source[:] = words

    def run(kernel, written) -> None:
        arguments = [ctypes.c_void_p(array.ctypes.data) for array in (source, written)]
        pointers = (ctypes.c_void_p * 2)(*(ctypes.addressof(each) for each in arguments))
        getattr(threads_library, f"launch_{kernel}")(2, 1, 1, bandwidth.THREADS, pointers)

    copied = np.zeros(len(words) + 64, np.uint32)
    target = copied[-(copied.ctypes.data // 4) % 64 :][: len(words)]
    run(bandwidth.COPY_KERNEL, target)
    np.testing.assert_array_equal(target, words)
    sums, expected = (np.zeros(2 * bandwidth.THREADS // 32, np.uint32) for _ in range(2))
    run(bandwidth.SUM_KERNEL, sums)
    host_kernels.sum_vectors(2, source.ctypes.data, expected.ctypes.data)
    np.testing.assert_array_equal(sums, expected)


def test_theoretical_rate_is_absent_where_the_driver_does_not_tell(fake) -> None:
    fake.attributes[CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE] = 0
    assert Device(fake).theoretical_gigabytes_per_second is None


def test_sum_that_is_wrong_is_not_timed(fake, monkeypatch) -> None:
    monkeypatch.setitem(host_kernels.MEMORY_KERNELS, bandwidth.SUM_KERNEL, lambda blocks, source, sums: None)
    with Memory.on_device(Device(fake), IMAGE) as memory, pytest.raises(OperationError, match="nld_sum_vectors found"):
        memory.bandwidth()
    assert "mark" not in fake.log

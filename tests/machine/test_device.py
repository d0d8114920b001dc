# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""How the CUDA driver is called, on a stand-in for its bindings."""

from __future__ import annotations

import ctypes
import struct
import threading

import numpy as np
import pytest

from nld_trt.errors import InputError, OperationError
from nld_trt.machine.device import Device
from tests.machine import fake_cuda
from tests.machine.fake_cuda import FakeCuda


@pytest.fixture
def cuda() -> FakeCuda:
    return FakeCuda()


def test_what_is_captured_can_be_launched(cuda):
    device = Device(cuda)
    source, target = device.allocate(4), device.allocate(4)
    device.upload(source, np.arange(4, dtype=np.uint8))
    graph = device.capture(lambda: device.copy(target, source, 4))
    found = np.zeros(4, np.uint8)
    device.download(found, target)
    assert found.tolist() == [0xB3] * 4, "nothing has run"
    device.launch_graph(graph)
    device.download(found, target)
    assert found.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("failing", ["work", "cuStreamEndCapture", "cuGraphInstantiate"])
def test_a_capture_that_fails_is_ended_and_keeps_no_graph(cuda, failing):
    def work():
        if failing == "work":
            raise OperationError("no")

    device = Device(cuda)
    cuda.fails.add(failing)
    with pytest.raises(OperationError):
        device.capture(work)
    assert cuda.called.count("cuStreamBeginCapture") == cuda.called.count("cuStreamEndCapture") == 1
    assert cuda.called.count("cuGraphDestroy") == (failing == "cuGraphInstantiate")
    device.synchronize()


def test_a_call_that_fails_is_named(cuda):
    cuda.fails.add("cuMemAlloc")
    with pytest.raises(OperationError, match="the GPU refused cuMemAlloc: CUDA_ERROR_INVALID_VALUE"):
        Device(cuda).allocate(8)


def test_a_gpu_that_does_not_start_is_named(cuda):
    cuda.fails.add("cuInit")
    with pytest.raises(OperationError, match="the GPU refused cuInit"):
        Device(cuda)


def test_a_kernel_that_a_module_lacks_is_named(cuda):
    device = Device(cuda)
    with pytest.raises(OperationError, match="the GPU refused cuModuleGetFunction: CUDA_ERROR_NOT_FOUND"):
        device.function(device.load(b"machine code"), "unheard_of")


def test_memory_that_is_not_released_goes_with_the_device(cuda):
    device = Device(cuda)
    device.release(device.allocate(8))
    device.allocate(8)
    assert len(cuda.live) == 1
    del device
    assert not cuda.live
    assert cuda.called.count("cuMemFree") == 2


def test_another_thread_can_use_the_device(cuda):
    """A server opens a session in one thread and decodes in another; the driver has a context for each."""
    device = Device(cuda)
    failures = []

    def work():
        try:
            device.clear(device.allocate(8), 8)
            device.synchronize()
        except OperationError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failures


def test_memory_goes_with_the_device_in_any_thread(cuda):
    devices = [Device(cuda)]
    devices[0].allocate(8)
    thread = threading.Thread(target=devices.clear)
    thread.start()
    thread.join()
    assert not cuda.live


def test_arguments_reach_the_kernel(cuda):
    found = []

    def kernel(grid, pointers):
        values = ctypes.c_void_p.from_address(pointers[0]).value, ctypes.c_int.from_address(pointers[1]).value
        return lambda: found.append((grid, *values))

    cuda.kernels["kernel"] = kernel
    device = Device(cuda)
    device.launch(device.function(device.load(b""), "kernel"), (1, 2, 3), 64, [ctypes.c_void_p(5), ctypes.c_int(-6)])
    device.synchronize()
    assert found == [((1, 2, 3), 5, -6)]
    assert cuda.launches == [("kernel", (1, 2, 3), 64)]


def test_a_kernel_is_launched_over_the_end_of_another_where_asked(cuda):
    cuda.kernels["kernel"] = lambda grid, pointers: lambda: None
    device = Device(cuda)
    function = device.function(device.load(b""), "kernel")
    device.launch(function, (1, 2, 3), 64, [])
    assert cuda.overlapping == []
    graph = device.capture(lambda: device.launch(function, (4, 5, 6), 32, [], overlapping=True))
    assert cuda.overlapping == ["kernel"]
    assert cuda.launches == [("kernel", (1, 2, 3), 64), ("kernel", (4, 5, 6), 32)]
    device.destroy_graph(graph)


def test_an_overlapping_launch_lies_in_memory_as_the_driver_reads_it():
    """The bindings' structures, field by field, as cuda.h has them."""
    driver = pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    seen = []

    class Bindings(FakeCuda):
        CUlaunchAttributeID, CUlaunchAttribute = driver.CUlaunchAttributeID, driver.CUlaunchAttribute
        CUlaunchConfig = driver.CUlaunchConfig

        def cuLaunchKernelEx(self, launch, function, pointers, extra):
            *sizes, stream, attributes, count = struct.unpack_from("7I4xQQI", ctypes.string_at(launch.getPtr(), 56))
            kind, allowed = struct.unpack_from("I4xi", ctypes.string_at(attributes, 72))
            seen.append((sizes, stream, count, kind, allowed))
            return (fake_cuda.SUCCESS,)

    Device(Bindings()).launch("kernel", (4, 5, 6), 32, [], overlapping=True)
    serialization = int(driver.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION)
    assert seen == [([4, 5, 6, 32, 1, 1, 0], fake_cuda.STREAM, 1, serialization, 1)]


def test_time_between_events_is_that_of_the_later_one(cuda):
    device = Device(cuda)
    begin, end = device.event(timed=True), device.event(timed=True)
    device.record(begin)
    device.record(end)
    assert device.milliseconds_between(begin, end) == 1.0


def test_identifier_is_written_as_nvidia_smi_does(cuda):
    assert Device(cuda).uuid == "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"


def test_missing_package_is_named(monkeypatch):
    fake_cuda.install(monkeypatch, None)
    with pytest.raises(InputError, match=r'cuda-bindings.*\n.*pip install "nld-trt\[rtx\]"'):
        Device.open("running a trt-rtx engine", "rtx")


def test_missing_driver_is_named(monkeypatch):
    class Bindings(FakeCuda):
        def cuInit(self, flags):
            raise RuntimeError("no library")

    fake_cuda.install(monkeypatch, Bindings())
    with pytest.raises(InputError, match=r"running the decode kernels needs an NVIDIA GPU, and .* libcuda\.so\.1"):
        Device.open("running the decode kernels", "plugins")


def test_the_bindings_have_every_name_of_the_stand_in():
    driver = pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    for name in (name for name in vars(FakeCuda) if name.startswith("cu")):
        assert callable(getattr(driver, name))
    for ours in fake_cuda.ENUMERATIONS:
        theirs = getattr(driver, ours.__name__)
        assert {member.name: int(getattr(theirs, member.name)) for member in ours} == {it.name: int(it) for it in ours}

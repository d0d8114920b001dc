# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for ``cuda.bindings.driver`` whose GPU is this machine's memory, stricter than the real one.

It runs nothing before it is waited for, refuses what needs a context in a thread that has none, and fills what it
allocates with bytes that nobody wrote. tests/machine/test_device.py compares its names with the real ones.
"""

from __future__ import annotations

import copy
import ctypes
import enum
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from nld_trt.machine.gpu import Gpu

STREAM, CONTEXT = 7, 77
UUID = bytes(range(16))
# Of an allocation on a GPU.
_ALIGNMENT = 256

Work = Callable[[], object]
# What a launch will do, of its grid and the addresses of its arguments. Arguments are read when it is launched.
Kernel = Callable[[tuple[int, int, int], Sequence[int]], Work]


class CUresult(enum.IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_NO_DEVICE = 100
    CUDA_ERROR_INVALID_CONTEXT = 201
    CUDA_ERROR_NOT_FOUND = 500


class CUdevice_attribute(enum.IntEnum):
    CU_DEVICE_ATTRIBUTE_PCI_BUS_ID = 33
    CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID = 34
    CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE = 36
    CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH = 37
    CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE = 38
    CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID = 50
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76


class CUstream_flags(enum.IntEnum):
    CU_STREAM_NON_BLOCKING = 1


class CUevent_flags(enum.IntEnum):
    CU_EVENT_DEFAULT = 0
    CU_EVENT_BLOCKING_SYNC = 1
    CU_EVENT_DISABLE_TIMING = 2


class CUstreamCaptureMode(enum.IntEnum):
    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1


class CUlaunchAttributeID(enum.IntEnum):
    CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION = 6


class CUlaunchAttribute:
    def __init__(self) -> None:
        self.id: CUlaunchAttributeID | None = None
        self.value = SimpleNamespace()


class CUmemorytype(enum.IntEnum):
    CU_MEMORYTYPE_HOST = 1
    CU_MEMORYTYPE_DEVICE = 2


class CUDA_MEMCPY2D(SimpleNamespace):
    """A copy of pieces at one distance, with the names of the bindings."""


class CUlaunchConfig(SimpleNamespace):
    """Attributes are copied when they are set, as the real one copies them."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, copy.deepcopy(value) if name == "attrs" else value)


ENUMERATIONS = (
    CUresult,
    CUdevice_attribute,
    CUstream_flags,
    CUevent_flags,
    CUstreamCaptureMode,
    CUlaunchAttributeID,
)
WITHOUT_CONTEXT = (
    "cuInit cuDriverGetVersion cuDeviceGet cuDeviceGetCount cuDeviceGetName cuDeviceTotalMem cuDeviceGetAttribute "
    "cuDeviceGetUuid cuDevicePrimaryCtxRetain cuCtxSetCurrent"
).split()
SUCCESS = CUresult.CUDA_SUCCESS
_ATTRIBUTES = CUdevice_attribute


@dataclass
class Event:
    """``queued``: how often it was recorded and not reached. ``at``: its place among all that were recorded."""

    timed: bool
    queued: int = 0
    at: int = 0

    def reach(self) -> None:
        self.queued -= 1


class FakeCuda:
    """
    Attributes:
        gpus: what the driver sees, in order.
        attributes: of every GPU, by their numbers in cuda.h.
        kernels: those of any module.
        fails: functions that answer with an error.
        called: names of all functions that were called, in order.
        log: copies, marks (recorded events) and launched graphs, in order. Events are a millisecond apart.
        launches: (kernel, grid, threads) in order.
        overlapping: the kernels that were launched to overlap with those before them, in order.
        live: memory by its address, until it is freed.
        queue: what waits to be run.
        captured: what was queued since a capture began; None outside of one.
        events: how many there are.
    """

    CUresult, CUdevice_attribute, CUstream_flags = CUresult, CUdevice_attribute, CUstream_flags
    CUmemorytype, CUDA_MEMCPY2D = CUmemorytype, CUDA_MEMCPY2D
    CUevent_flags, CUstreamCaptureMode = CUevent_flags, CUstreamCaptureMode
    CUlaunchAttributeID, CUlaunchAttribute, CUlaunchConfig = CUlaunchAttributeID, CUlaunchAttribute, CUlaunchConfig

    def __init__(self, kernels: Mapping[str, Kernel] | None = None, gpus: Sequence[Gpu] = ()) -> None:
        self.gpus = list(gpus)
        self.attributes = {
            _ATTRIBUTES.CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: 2_619_000,
            _ATTRIBUTES.CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: 5120,
            _ATTRIBUTES.CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: 1 << 20,
            _ATTRIBUTES.CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID: 0,
            _ATTRIBUTES.CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID: 0,
        }
        self.kernels = dict(kernels or {})
        self.fails: set[str] = set()
        self.called: list[str] = []
        self.log: list[str] = []
        self.launches: list[tuple[str, tuple[int, ...], int]] = []
        self.overlapping: list[str] = []
        self.live: dict[int, Any] = {}
        self.queue: list[Work] = []
        self.captured: list[Work] | None = None
        self.events = 0
        self._marks = 0
        self._threads = threading.local()

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if not name.startswith("cu"):
            return found

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.called.append(name)
            if name not in WITHOUT_CONTEXT and getattr(self._threads, "context", None) != CONTEXT:
                return CUresult.CUDA_ERROR_INVALID_CONTEXT, None
            answer = found(*arguments)
            if name in self.fails:
                return CUresult.CUDA_ERROR_INVALID_VALUE, None
            return answer

        return call

    def run_queue(self) -> None:
        assert self.captured is None
        while self.queue:
            self.queue.pop(0)()

    def enqueue(self, work: Work) -> tuple[Any]:
        (self.queue if self.captured is None else self.captured).append(work)
        return (SUCCESS,)

    def array(self, address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Memory of the GPU, all of which must have been allocated."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        assert any(
            start <= address <= start + len(memory) - _ALIGNMENT - size for start, memory in self.live.items()
        ), f"{address}, {size} bytes"
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address)).view(dtype).reshape(shape)

    def cuInit(self, flags):
        return (SUCCESS,)

    def cuDriverGetVersion(self):
        return SUCCESS, 13010

    def cuDeviceGetCount(self):
        return SUCCESS, len(self.gpus)

    def cuDeviceGet(self, index):
        return SUCCESS, index

    def cuDeviceGetName(self, length, device):
        return SUCCESS, self.gpus[device].name.encode().ljust(length, b"\0")

    def cuDeviceTotalMem(self, device):
        return SUCCESS, self.gpus[device].memory_bytes

    def cuDeviceGetAttribute(self, attribute, device):
        own = {_ATTRIBUTES.CU_DEVICE_ATTRIBUTE_PCI_BUS_ID: device + 1}
        if device < len(self.gpus):
            major, minor = map(int, self.gpus[device].compute_capability.split("."))
            own[_ATTRIBUTES.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR] = major
            own[_ATTRIBUTES.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR] = minor
        return SUCCESS, {**self.attributes, **own}[attribute]

    def cuDeviceGetUuid(self, device):
        return SUCCESS, SimpleNamespace(bytes=UUID)

    def cuDevicePrimaryCtxRetain(self, device):
        return SUCCESS, CONTEXT

    def cuCtxSetCurrent(self, context):
        self._threads.context = context
        return (SUCCESS,)

    def cuStreamCreate(self, flags):
        assert flags == CUstream_flags.CU_STREAM_NON_BLOCKING
        return SUCCESS, STREAM

    def cuStreamSynchronize(self, stream):
        self.run_queue()
        return (SUCCESS,)

    def cuMemAlloc(self, size):
        memory = ctypes.create_string_buffer(b"\xb3" * (size + _ALIGNMENT), size + _ALIGNMENT)
        address = -(-ctypes.addressof(memory) // _ALIGNMENT) * _ALIGNMENT
        self.live[address] = memory
        return SUCCESS, address

    def cuMemAllocHost(self, size):
        return self.cuMemAlloc(size)

    def cuMemFree(self, address):
        del self.live[address]
        return (SUCCESS,)

    def cuMemcpyAsync(self, target, source, size, stream):
        assert stream == STREAM
        self.log.append("copy")
        return self.enqueue(lambda: ctypes.memmove(target, source, size))

    def cuMemcpyHtoDAsync(self, target, source, size, stream):
        return self.cuMemcpyAsync(target, source, size, stream)

    def cuMemcpyDtoHAsync(self, target, source, size, stream):
        return self.cuMemcpyAsync(target, source, size, stream)

    def cuMemcpy2DAsync(self, copy, stream):
        assert stream == STREAM
        assert copy.srcMemoryType == copy.dstMemoryType == CUmemorytype.CU_MEMORYTYPE_DEVICE
        assert copy.WidthInBytes <= copy.srcPitch == copy.dstPitch
        self.log.append("copy")

        def run():
            for piece in range(copy.Height):
                start = piece * copy.srcPitch
                ctypes.memmove(copy.dstDevice + start, copy.srcDevice + start, copy.WidthInBytes)

        return self.enqueue(run)

    def cuMemsetD8Async(self, address, value, size, stream):
        assert stream == STREAM
        return self.enqueue(lambda: ctypes.memset(address, value, size))

    def cuEventCreate(self, flags):
        self.events += 1
        return SUCCESS, Event(timed=not flags & CUevent_flags.CU_EVENT_DISABLE_TIMING)

    def cuEventDestroy(self, event):
        self.events -= 1
        return (SUCCESS,)

    def cuEventRecord(self, event, stream):
        assert self.captured is None
        self.log.append("mark")
        self._marks += 1
        event.at, event.queued = self._marks, event.queued + 1
        self.queue.append(event.reach)
        return (SUCCESS,)

    def cuEventSynchronize(self, event):
        while event.queued:
            self.queue.pop(0)()
        return (SUCCESS,)

    def cuEventElapsedTime(self, begin, end):
        assert begin.timed
        assert end.timed
        assert not end.queued
        return SUCCESS, float(end.at - begin.at)

    def cuStreamBeginCapture(self, stream, mode):
        assert mode == CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        assert self.captured is None
        self.captured = []
        return (SUCCESS,)

    def cuStreamEndCapture(self, stream):
        captured, self.captured = self.captured, None
        return SUCCESS, captured

    def cuGraphInstantiate(self, graph, flags):
        return SUCCESS, list(graph)

    def cuGraphDestroy(self, graph):
        graph.clear()
        return (SUCCESS,)

    def cuGraphLaunch(self, graph, stream):
        self.log.append("graph")
        self.queue.extend(graph)
        return (SUCCESS,)

    def cuGraphExecDestroy(self, graph):
        graph.clear()
        return (SUCCESS,)

    def cuModuleLoadData(self, image):
        return SUCCESS, image

    def cuModuleGetFunction(self, module, name):
        known = name.decode() in self.kernels
        return (SUCCESS, name.decode()) if known else (CUresult.CUDA_ERROR_NOT_FOUND, None)

    def cuLaunchKernel(self, function, x, y, z, threads, one, two, shared, stream, pointers, extra):
        assert (one, two, shared, stream, extra) == (1, 1, 0, STREAM, 0)
        self.launches.append((function, (x, y, z), threads))
        return self.enqueue(self.kernels[function]((x, y, z), (ctypes.c_void_p * 64).from_address(pointers)))

    def cuLaunchKernelEx(self, launch, function, pointers, extra):
        assert [each.id for each in launch.attrs] == [
            CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
        ]
        assert (launch.numAttrs, launch.attrs[0].value.programmaticStreamSerializationAllowed) == (1, 1)
        self.overlapping.append(function)
        grid = (launch.gridDimX, launch.gridDimY, launch.gridDimZ)
        blocks = (launch.blockDimX, launch.blockDimY, launch.blockDimZ)
        return self.cuLaunchKernel(function, *grid, *blocks, launch.sharedMemBytes, launch.hStream, pointers, extra)


def install(monkeypatch, cuda: Any) -> None:
    """Make ``cuda`` what ``from cuda.bindings import driver`` gives; None where the package is not installed."""
    if cuda is None:
        monkeypatch.setitem(sys.modules, "cuda.bindings", None)
        return
    monkeypatch.setitem(sys.modules, "cuda", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "cuda.bindings", SimpleNamespace(driver=cuda))

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The kernels on a GPU without TensorRT: NVIDIA's driver library, called through ctypes.

For checks and benchmarks. Works in the primary context of the first GPU, as PyTorch does: tensors of both can be mixed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from nld_trt.engine.trt.kernels.image import Image
from nld_trt.engine.trt.kernels.launch import Sizes, launch
from nld_trt.engine.trt.kernels.spec import Operator
from nld_trt.errors import InputError, OperationError
from nld_trt.machine.gpu import cuda_version
from nld_trt.measure.kernels.reference import Array

# cuda.h: CUdevice_attribute, CUstreamCaptureMode, CUstream_flags.
_MEMORY_CLOCK_KILOHERTZ, _MEMORY_BUS_BITS, _L2_CACHE_SIZE = 36, 37, 38
_CAPTURE_THREAD_LOCAL, _NON_BLOCKING = 1, 1
_UUID_BYTES = 16


class Driver:
    """One GPU, one stream. Addresses are plain integers."""

    def __init__(self, library: Any = None) -> None:
        """
        Args:
            library: ``libcuda.so.1``, already loaded.

        Raises:
            InputError: there is no driver.
            OperationError: it refuses to work.
        """
        try:
            self._cuda = library or ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise InputError(
                "running the decode kernels needs an NVIDIA GPU, and its driver library libcuda.so.1 is not here",
                fix="Run this on a machine with an NVIDIA GPU; check it with nvidia-smi.",
            ) from error
        self._call("cuInit", 0)
        self._device, context, self.stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuDeviceGet", ctypes.byref(self._device), 0)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._call("cuCtxSetCurrent", context)
        self._call("cuStreamCreate", ctypes.byref(self.stream), _NON_BLOCKING)

    @property
    def version(self) -> str:
        """Of CUDA, as the driver supports it."""
        return cuda_version(self._read("cuDriverGetVersion"))

    @property
    def l2_bytes(self) -> int:
        return self._attribute(_L2_CACHE_SIZE)

    @property
    def theoretical_gigabytes_per_second(self) -> float | None:
        """Of memory that transfers twice per clock, as the driver has clock and bus; None where it does not say."""
        kilohertz, bits = self._attribute(_MEMORY_CLOCK_KILOHERTZ), self._attribute(_MEMORY_BUS_BITS)
        return 2 * kilohertz * bits / 8 / 1e6 or None

    @property
    def uuid(self) -> str:
        """As nvidia-smi writes it."""
        found = ctypes.create_string_buffer(_UUID_BYTES)
        self._call("cuDeviceGetUuid_v2", ctypes.byref(found), self._device)
        return f"GPU-{UUID(bytes=found.raw)}"

    def allocate(self, size: int) -> int:
        address = ctypes.c_void_p()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address.value or 0

    def release(self, address: int) -> None:
        self._call("cuMemFree_v2", ctypes.c_void_p(address))

    def upload(self, address: int, array: Array) -> None:
        """``array`` is contiguous."""
        host = ctypes.c_void_p(array.ctypes.data)
        self._call("cuMemcpyHtoDAsync_v2", ctypes.c_void_p(address), host, ctypes.c_size_t(array.nbytes), self.stream)
        self.wait()

    def download(self, array: Array, address: int) -> None:
        host = ctypes.c_void_p(array.ctypes.data)
        self._call("cuMemcpyDtoHAsync_v2", host, ctypes.c_void_p(address), ctypes.c_size_t(array.nbytes), self.stream)
        self.wait()

    def copy(self, target: int, source: int, size: int) -> None:
        """Queue a copy on the device."""
        addresses = ctypes.c_void_p(target), ctypes.c_void_p(source)
        self._call("cuMemcpyDtoDAsync_v2", *addresses, ctypes.c_size_t(size), self.stream)

    def wait(self) -> None:
        self._call("cuStreamSynchronize", self.stream)

    def load(self, image: Image) -> ctypes.c_void_p:
        module = ctypes.c_void_p()
        self._call("cuModuleLoadData", ctypes.byref(module), image.cubin)
        return module

    def function(self, module: ctypes.c_void_p, name: str) -> ctypes.c_void_p:
        found = ctypes.c_void_p()
        self._call("cuModuleGetFunction", ctypes.byref(found), module, name.encode())
        return found

    def launch(
        self, function: ctypes.c_void_p, grid: tuple[int, ...], threads: int, shared_bytes: int, arguments: list[Any]
    ) -> None:
        """Queue a kernel. ``arguments`` are ctypes values."""
        pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(argument) for argument in arguments))
        self._call("cuLaunchKernel", function, *grid, threads, 1, 1, shared_bytes, self.stream, pointers, None)

    def record(self, work: Callable[[], object]) -> Graph:
        """Record what ``work`` queues, and run none of it."""
        graph, runnable = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", self.stream, _CAPTURE_THREAD_LOCAL)
        work()
        self._call("cuStreamEndCapture", self.stream, ctypes.byref(graph))
        self._call("cuGraphInstantiateWithFlags", ctypes.byref(runnable), graph, ctypes.c_ulonglong(0))
        return Graph(self, runnable)

    def queue_graph(self, runnable: ctypes.c_void_p) -> None:
        self._call("cuGraphLaunch", runnable, self.stream)

    def event(self) -> ctypes.c_void_p:
        """A point of the stream that can be marked, again and again."""
        event = ctypes.c_void_p()
        self._call("cuEventCreate", ctypes.byref(event), 0)
        return event

    def mark(self, event: ctypes.c_void_p) -> None:
        self._call("cuEventRecord", event, self.stream)

    def milliseconds_between(self, begin: ctypes.c_void_p, end: ctypes.c_void_p) -> float:
        """Waits for ``end``."""
        self._call("cuEventSynchronize", end)
        elapsed = ctypes.c_float()
        self._call("cuEventElapsedTime", ctypes.byref(elapsed), begin, end)
        return elapsed.value

    def _attribute(self, number: int) -> int:
        return self._read("cuDeviceGetAttribute", number, self._device)

    def _read(self, function: str, *arguments: Any) -> int:
        value = ctypes.c_int()
        self._call(function, ctypes.byref(value), *arguments)
        return value.value

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._cuda, function)(*arguments)
        if status != 0:
            raise OperationError(f"the GPU refused {function}: CUresult {status}")


class Graph:
    """Recorded work."""

    def __init__(self, driver: Driver, runnable: ctypes.c_void_p) -> None:
        self._driver, self._runnable = driver, runnable
        self._begin, self._end = driver.event(), driver.event()

    def queue(self) -> None:
        self._driver.queue_graph(self._runnable)

    def milliseconds(self) -> float:
        """Of one run, behind another one: an idle stream would reach the first event while the host still launches."""
        self.queue()
        self._driver.mark(self._begin)
        self.queue()
        self._driver.mark(self._end)
        return self._driver.milliseconds_between(self._begin, self._end)


class Kernels:
    """The compiled kernels on a GPU."""

    def __init__(self, driver: Driver, image: Image) -> None:
        self.driver = driver
        self._module = driver.load(image)
        self._functions: dict[str, ctypes.c_void_p] = {}

    def launch(
        self, operator: Operator, sizes: Sizes[int], addresses: Mapping[str, int], logit_type: str, mask_token_id: int
    ) -> None:
        """Queue one operator on tensors at ``addresses``, by their names."""
        name = operator.kernel(logit_type)
        if name not in self._functions:
            self._functions[name] = self.driver.function(self._module, name)
        arguments: list[Any] = [ctypes.c_void_p(addresses[tensor]) for tensor in operator.inputs]
        arguments += [ctypes.c_int(value) for value in sizes.scalars(operator, mask_token_id)]
        arguments += [ctypes.c_void_p(addresses[tensor]) for tensor in operator.outputs]
        planned = launch(operator, sizes)
        self.driver.launch(self._functions[name], planned.grid, planned.threads, planned.shared_bytes, arguments)

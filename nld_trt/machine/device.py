# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A GPU to compute on: its memory, one stream, events, captured graphs and kernels.

The CUDA driver API is called through ``cuda.bindings.driver``, with the names and arguments of NVIDIA's documentation.
The runtime API would do as well for engines, but it cannot launch kernels that were compiled separately.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal
from uuid import UUID

import numpy as np
import numpy.typing as npt

from nld_trt.errors import InputError, OperationError
from nld_trt.optional import install_command

Array = npt.NDArray[Any]


class Device:
    """The first GPU that this process sees, and one stream on it.

    It works in the GPU's primary context, as PyTorch and TensorRT do: all of them can use one another's memory. Any
    thread may call it, one at a time. Addresses are plain integers; events, graphs and functions are the driver's
    handles.
    """

    kind: Literal["cpu", "gpu"] = "gpu"

    def __init__(self, cuda: Any) -> None:
        """
        Args:
            cuda: the module ``cuda.bindings.driver``.

        Raises:
            OperationError: the GPU, or its driver, does not work.
        """
        self._cuda = cuda
        _call(cuda, "cuInit", 0)
        self._device = _call(cuda, "cuDeviceGet", 0)
        self._context = _call(cuda, "cuDevicePrimaryCtxRetain", self._device)
        self._threads = threading.local()
        # The addresses of memory that is freed with this object.
        self._allocated: set[int] = set()
        weakref.finalize(self, _free, cuda, self._context, self._allocated)
        self.stream = int(self._call("cuStreamCreate", cuda.CUstream_flags.CU_STREAM_NON_BLOCKING))

    @classmethod
    def open(cls, wanted_by: str, extra: str) -> Device:
        """The GPU, through the bindings that are installed.

        Args:
            wanted_by: the work that needs the GPU, such as "running a trt-rtx engine"; the errors begin with it.
            extra: the extra of the nld-trt package that installs cuda-bindings.

        Raises:
            InputError: the package cuda-bindings is not installed, or there is no driver.
            OperationError: the GPU, or its driver, does not work.
        """
        try:
            from cuda.bindings import driver
        except ImportError as error:
            raise InputError(
                f"{wanted_by} needs the Python package cuda-bindings, which is not installed",
                fix=f"Install it: {install_command(extra)}",
            ) from error
        try:
            return cls(driver)
        except RuntimeError as error:  # of the bindings, where they find no driver library
            raise InputError(
                f"{wanted_by} needs an NVIDIA GPU, and its driver library libcuda.so.1 is not here",
                fix="Run this on a machine with an NVIDIA GPU; check it with nvidia-smi.",
            ) from error

    @property
    def uuid(self) -> str:
        """The UUID of the GPU, as nvidia-smi writes it."""
        return f"GPU-{UUID(bytes=bytes(self._call('cuDeviceGetUuid', self._device).bytes))}"

    @property
    def l2_bytes(self) -> int:
        """The size of the L2 cache."""
        return self._attribute("L2_CACHE_SIZE")

    @property
    def theoretical_gigabytes_per_second(self) -> float | None:
        """The bandwidth of memory that transfers twice per clock, from the clock and the width of its bus.

        It is None where the driver does not report the clock.
        """
        kilohertz, bits = self._attribute("MEMORY_CLOCK_RATE"), self._attribute("GLOBAL_MEMORY_BUS_WIDTH")
        return 2 * kilohertz * bits / 8 / 1e6 or None

    def allocate(self, size: int) -> int:
        """Allocate ``size`` bytes of device memory, which are not cleared, and return their address."""
        address = int(self._call("cuMemAlloc", size))
        self._allocated.add(address)
        return address

    def release(self, address: int) -> None:
        """Free memory that :meth:`allocate` returned. Memory that is never released is freed with this object."""
        self._allocated.remove(address)
        self._call("cuMemFree", address)

    def allocate_host(self, size: int) -> npt.NDArray[np.uint8]:
        """Zeroed page-locked host memory, which the GPU copies from and to directly.

        It is never freed: arrays that share it may outlive this object.
        """
        address = int(self._call("cuMemAllocHost", size))
        memory = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
        memory[:] = 0
        return memory

    def copy(self, target: int, source: int, size: int) -> None:
        """Queue a copy. The addresses tell its direction."""
        self._call("cuMemcpyAsync", target, source, size, self.stream)

    def copy_pieces(self, target: int, source: int, size: int, *, stride: int, count: int) -> None:
        """Queue a copy of ``count`` pieces of ``size`` bytes, which begin ``stride`` bytes apart in both places.

        Both places are device memory.
        """
        copy = self._cuda.CUDA_MEMCPY2D()
        copy.srcMemoryType = copy.dstMemoryType = self._cuda.CUmemorytype.CU_MEMORYTYPE_DEVICE
        copy.srcDevice, copy.dstDevice = source, target
        copy.srcPitch = copy.dstPitch = stride
        copy.WidthInBytes, copy.Height = size, count
        self._call("cuMemcpy2DAsync", copy, self.stream)

    def upload(self, address: int, array: Array) -> None:
        """Copy a contiguous array to the device, and wait for it."""
        self._call("cuMemcpyHtoDAsync", address, array.ctypes.data, array.nbytes, self.stream)
        self.synchronize()

    def download(self, array: Array, address: int) -> None:
        """Fill a contiguous array from the device, and wait for it."""
        self._call("cuMemcpyDtoHAsync", array.ctypes.data, address, array.nbytes, self.stream)
        self.synchronize()

    def clear(self, address: int, size: int) -> None:
        """Queue the clearing of memory to zeros."""
        self._call("cuMemsetD8Async", address, 0, size, self.stream)

    def synchronize(self) -> None:
        """Wait until the stream has run everything that was queued."""
        self._call("cuStreamSynchronize", self.stream)

    def event(self, *, timed: bool = False) -> Any:
        """Create an event, which marks a point in the stream each time it is recorded.

        Args:
            timed: :meth:`milliseconds_between` can read the event. A thread that waits for an event without times
                sleeps, and leaves the core to other threads.
        """
        flags = self._cuda.CUevent_flags
        untimed = int(flags.CU_EVENT_DISABLE_TIMING) | int(flags.CU_EVENT_BLOCKING_SYNC)
        return self._call("cuEventCreate", int(flags.CU_EVENT_DEFAULT) if timed else untimed)

    def record(self, event: Any) -> None:
        """Queue an event."""
        self._call("cuEventRecord", event, self.stream)

    def wait(self, event: Any) -> None:
        """Wait until the stream has passed the event."""
        self._call("cuEventSynchronize", event)

    def milliseconds_between(self, begin: Any, end: Any) -> float:
        """The time between two timed events, once the stream has passed ``end``."""
        self.wait(end)
        return float(self._call("cuEventElapsedTime", begin, end))

    def destroy_event(self, event: Any) -> None:
        self._call("cuEventDestroy", event)

    def capture(self, work: Callable[[], object]) -> Any:
        """Capture what ``work`` queues, without running it, into a graph for :meth:`launch_graph`.

        Raises:
            OperationError: the work cannot be captured.
        """
        mode = self._cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("cuStreamBeginCapture", self.stream, mode)
        try:
            work()
        finally:
            # A capture must be ended, also after an error, before the stream takes anything else.
            graph = self._call("cuStreamEndCapture", self.stream)
        try:
            return self._call("cuGraphInstantiate", graph, 0)
        finally:
            self._call("cuGraphDestroy", graph)

    def launch_graph(self, graph: Any) -> None:
        """Queue a captured graph: one call, however many kernels it has."""
        self._call("cuGraphLaunch", graph, self.stream)

    def destroy_graph(self, graph: Any) -> None:
        self._call("cuGraphExecDestroy", graph)

    def load(self, cubin: bytes) -> Any:
        """Load machine code, which stays loaded, and return its module."""
        return self._call("cuModuleLoadData", cubin)

    def function(self, module: Any, name: str) -> Any:
        """The kernel of a module that has this name.

        Raises:
            OperationError: the module has none of that name.
        """
        return self._call("cuModuleGetFunction", module, name.encode())

    def launch(
        self,
        function: Any,
        grid: tuple[int, int, int],
        threads: int,
        arguments: Sequence[Any],
        *,
        overlapping: bool = False,
    ) -> None:
        """Queue a kernel on ``grid`` blocks of ``threads`` threads each. ``arguments`` are ctypes values.

        Args:
            overlapping: the kernel may start while the one before it in the stream still runs, if that one allows it,
                and waits for its end by itself (programmatic dependent launch). Captured graphs keep this.
        """
        pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(argument) for argument in arguments))
        if overlapping:
            launch = self._overlapping_launch(grid, threads)
            self._call("cuLaunchKernelEx", launch, function, ctypes.addressof(pointers), 0)
            return
        self._call("cuLaunchKernel", function, *grid, threads, 1, 1, 0, self.stream, ctypes.addressof(pointers), 0)

    def _overlapping_launch(self, grid: tuple[int, int, int], threads: int) -> Any:
        cuda = self._cuda
        attribute = cuda.CUlaunchAttribute()
        attribute.id = cuda.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
        attribute.value.programmaticStreamSerializationAllowed = 1
        launch = cuda.CUlaunchConfig()
        launch.gridDimX, launch.gridDimY, launch.gridDimZ = grid
        launch.blockDimX, launch.blockDimY, launch.blockDimZ = threads, 1, 1
        launch.sharedMemBytes, launch.hStream = 0, self.stream
        # The attributes are copied when they are set, so the one here is complete.
        launch.attrs, launch.numAttrs = [attribute], 1
        return launch

    def _attribute(self, name: str) -> int:
        kind = getattr(self._cuda.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(self._call("cuDeviceGetAttribute", kind, self._device))

    def _call(self, function: str, *arguments: Any) -> Any:
        # The driver keeps a current context for each thread; a new thread has none.
        if not hasattr(self._threads, "has_context"):
            _call(self._cuda, "cuCtxSetCurrent", self._context)
            self._threads.has_context = True
        return _call(self._cuda, function, *arguments)


def _call(cuda: Any, function: str, *arguments: Any) -> Any:
    status, *values = getattr(cuda, function)(*arguments)
    if status != cuda.CUresult.CUDA_SUCCESS:
        raise OperationError(f"the GPU refused {function}: {status.name}")
    return values[0] if values else None


def _free(cuda: Any, context: Any, addresses: Iterable[int]) -> None:
    if addresses:
        cuda.cuCtxSetCurrent(context)
    for address in addresses:
        cuda.cuMemFree(address)

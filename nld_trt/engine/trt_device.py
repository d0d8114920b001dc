# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The current GPU through the CUDA runtime: memory, one stream, events and captured graphs. No torch."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from nld_trt.engine.trt_flavour import Flavour
from nld_trt.errors import InputError, OperationError


class Device:
    """Memory of the current GPU and one stream. Addresses, events and graphs are plain integers or handles."""

    def __init__(self, flavour: Flavour) -> None:
        try:
            from cuda.bindings import runtime
        except ImportError as error:
            raise InputError(
                f"running a {flavour.name} engine needs the Python package cuda-python, which is not installed",
                fix=f"Install it: {flavour.install}",
            ) from error
        self._cuda = runtime
        self.stream = int(self._call("cudaStreamCreateWithFlags", runtime.cudaStreamNonBlocking))

    def allocate(self, size: int) -> int:
        """Zeroed device memory."""
        address = int(self._call("cudaMalloc", size))
        self.clear(address, size)
        return address

    def allocate_host(self, size: int) -> npt.NDArray[np.uint8]:
        """Zeroed page-locked host memory, from and to which copies need no detour."""
        address = int(self._call("cudaMallocHost", size))
        memory = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
        memory[:] = 0
        return memory

    def copy(self, target: int, source: int, size: int) -> None:
        """Queue a copy in any direction: the addresses tell which."""
        self._call("cudaMemcpyAsync", target, source, size, self._cuda.cudaMemcpyKind.cudaMemcpyDefault, self.stream)

    def clear(self, address: int, size: int) -> None:
        """Queue zeros."""
        self._call("cudaMemsetAsync", address, 0, size, self.stream)

    def event(self) -> Any:
        """A point in the stream that the host can wait for. Waiting sleeps, and leaves the core to the rest."""
        return self._call(
            "cudaEventCreateWithFlags", self._cuda.cudaEventDisableTiming | self._cuda.cudaEventBlockingSync
        )

    def record(self, event: Any) -> None:
        self._call("cudaEventRecord", event, self.stream)

    def wait(self, event: Any) -> None:
        self._call("cudaEventSynchronize", event)

    def synchronize(self) -> None:
        """Wait for everything queued."""
        self._call("cudaStreamSynchronize", self.stream)

    def begin_capture(self) -> None:
        """What is queued from now on is recorded and not run."""
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self.stream, mode)

    def end_capture(self) -> Any:
        """What was recorded, for :meth:`launch`."""
        graph = self._call("cudaStreamEndCapture", self.stream)
        ready = self._call("cudaGraphInstantiate", graph, 0)
        self._call("cudaGraphDestroy", graph)
        return ready

    def launch(self, graph: Any) -> None:
        """Queue a captured graph: one call, however many kernels it has."""
        self._call("cudaGraphLaunch", graph, self.stream)

    def destroy(self, graph: Any) -> None:
        self._call("cudaGraphExecDestroy", graph)

    def _call(self, function: str, *arguments: Any) -> Any:
        status, *values = getattr(self._cuda, function)(*arguments)
        if status != self._cuda.cudaError_t.cudaSuccess:
            raise OperationError(f"the GPU refused {function}: {status.name}")
        return values[0] if values else None

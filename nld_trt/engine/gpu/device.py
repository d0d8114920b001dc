# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The current GPU through the CUDA runtime: memory, one stream, events and captured graphs. No torch."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from nld_trt.errors import InputError, OperationError


class Device:
    """Memory of the current GPU and one stream. Addresses, events and graphs are plain integers or handles."""

    def __init__(self, needed_by: str, install: str) -> None:
        """
        Args:
            needed_by: what needs the GPU, for messages: "a trt-rtx engine".
            install: command that installs the CUDA bindings.

        Raises:
            InputError: the CUDA bindings are not installed.
            OperationError: there is no GPU that works.
        """
        try:
            from cuda.bindings import runtime
        except ImportError as error:
            raise InputError(
                f"running {needed_by} needs the Python package cuda-python, which is not installed",
                fix=f"Install it: {install}",
            ) from error
        self._cuda = runtime
        self._allocated: list[int] = []
        weakref.finalize(self, _free, runtime, self._allocated)
        self.stream = int(self._call("cudaStreamCreateWithFlags", runtime.cudaStreamNonBlocking))

    def allocate(self, size: int) -> int:
        """Zeroed device memory, which lives as long as this object."""
        address = int(self._call("cudaMalloc", size))
        self._allocated.append(address)
        self.clear(address, size)
        return address

    def allocate_host(self, size: int) -> npt.NDArray[np.uint8]:
        """Zeroed page-locked host memory, from and to which copies need no detour. It stays: arrays of it may too."""
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

    def capture(self, work: Callable[[], None]) -> Any:
        """What ``work`` queues, recorded and not run, for :meth:`launch`; None where it cannot be recorded."""
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self.stream, mode)
        recorded = None
        with suppress(OperationError):
            try:
                work()
            finally:
                # Whatever became of it, a capture must be ended before the stream takes anything else.
                graph = self._call("cudaStreamEndCapture", self.stream)
            recorded = self._call("cudaGraphInstantiate", graph, 0)
            self._call("cudaGraphDestroy", graph)
        if recorded is None:
            # Who looks for the last error next must not find this one.
            self._cuda.cudaGetLastError()
        return recorded

    def launch(self, graph: Any) -> None:
        """Queue a captured graph: one call, however many kernels it has."""
        self._call("cudaGraphLaunch", graph, self.stream)

    def destroy_graph(self, graph: Any) -> None:
        self._call("cudaGraphExecDestroy", graph)

    def destroy_event(self, event: Any) -> None:
        self._call("cudaEventDestroy", event)

    def _call(self, function: str, *arguments: Any) -> Any:
        status, *values = getattr(self._cuda, function)(*arguments)
        if status != self._cuda.cudaError_t.cudaSuccess:
            raise OperationError(f"the GPU refused {function}: {status.name}")
        return values[0] if values else None


def _free(cuda: Any, addresses: Iterable[int]) -> None:
    for address in addresses:
        cuda.cudaFree(address)

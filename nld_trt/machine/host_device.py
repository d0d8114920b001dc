# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The CPU in the place of a GPU: the calls of ``machine.device.Device`` that a session makes, on host memory.

Work runs when it is queued, so an event is always passed and nothing can be captured.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nld_trt.errors import OperationError


class HostDevice:
    """Host memory with the interface of a GPU."""

    kind: Literal["cpu", "gpu"] = "cpu"
    stream = 0

    def __init__(self) -> None:
        self._allocated: dict[int, npt.NDArray[np.uint8]] = {}

    def allocate(self, size: int) -> int:
        """Allocate ``size`` bytes and return their address. They live as long as this object.

        Raises:
            OperationError: there is not so much memory.
        """
        try:
            memory = np.zeros(size, np.uint8)
        except MemoryError as error:
            raise OperationError(f"{size} bytes of memory for the engine could not be allocated") from error
        self._allocated[memory.ctypes.data] = memory
        return int(memory.ctypes.data)

    def allocate_host(self, size: int) -> npt.NDArray[np.uint8]:
        return np.zeros(size, np.uint8)

    def copy(self, target: int, source: int, size: int) -> None:
        ctypes.memmove(target, source, size)

    def copy_pieces(self, target: int, source: int, size: int, *, stride: int, count: int) -> None:
        for start in range(0, stride * count, stride):
            ctypes.memmove(target + start, source + start, size)

    def clear(self, address: int, size: int) -> None:
        ctypes.memset(address, 0, size)

    def synchronize(self) -> None:
        pass

    def event(self, *, timed: bool = False) -> Any:
        return None

    def record(self, event: Any) -> None:
        pass

    def wait(self, event: Any) -> None:
        pass

    def destroy_event(self, event: Any) -> None:
        pass

    def capture(self, work: Callable[[], object]) -> Any:
        """Raises OperationError: nothing is queued here that could be captured."""
        raise OperationError("work on the CPU cannot be captured into a CUDA graph")

    def launch_graph(self, graph: Any) -> None:
        raise AssertionError("there are no graphs without a capture")

    def destroy_graph(self, graph: Any) -> None:
        raise AssertionError("there are no graphs without a capture")

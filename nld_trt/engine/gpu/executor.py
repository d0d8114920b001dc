# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The interface between the session's loop and a GPU library that runs the network.

The session owns memory, copies, events and graphs. An executor owns the network: it binds the tensors of a forward to
addresses of the session's memory, and queues the forward on the session's stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from nld_trt.engine.gpu.arena import Side
from nld_trt.graph.contract import Phase


class SessionDevice(Protocol):
    """What a session needs of the device that it runs on: ``machine.device.Device``, or the CPU in its place.

    Attributes:
        kind: what it is.
        stream: handle of the one stream on which everything is queued, in order.
    """

    kind: Literal["cpu", "gpu"]
    stream: int

    def allocate(self, size: int) -> int:
        """Allocate device memory, and return its address."""

    def allocate_host(self, size: int) -> npt.NDArray[np.uint8]:
        """Zeroed host memory that the device copies from and to."""

    def copy(self, target: int, source: int, size: int) -> None:
        """Queue a copy. The addresses tell its direction."""

    def copy_pieces(self, target: int, source: int, size: int, *, stride: int, count: int) -> None:
        """Queue a copy of ``count`` pieces of ``size`` bytes, which begin ``stride`` bytes apart in both places."""

    def clear(self, address: int, size: int) -> None:
        """Queue the clearing of memory to zeros."""

    def synchronize(self) -> None:
        """Wait until everything that was queued has run."""

    def event(self, *, timed: bool = False) -> Any:
        """Create an event."""

    def record(self, event: Any) -> None:
        """Queue an event."""

    def wait(self, event: Any) -> None:
        """Wait until the stream has passed the event."""

    def destroy_event(self, event: Any) -> None:
        """Free an event."""

    def capture(self, work: Callable[[], object]) -> Any:
        """Capture what ``work`` queues into a graph. Raises OperationError where that is impossible."""

    def launch_graph(self, graph: Any) -> None:
        """Queue a captured graph."""

    def destroy_graph(self, graph: Any) -> None:
        """Free a graph."""


@dataclass(frozen=True)
class Caches:
    """The K/V caches on the device, read and written in place.

    Attributes:
        addresses: device address of each cache, by the name of the engine's input.
        row_shape: [kv_heads, capacity, head_dim] of one row; the rows of a cache follow each other.
        row_bytes: size of one row.
    """

    addresses: Mapping[str, int]
    row_shape: tuple[int, int, int]
    row_bytes: int

    def address(self, name: str, row: int) -> int:
        """The device address of a cache's row."""
        return self.addresses[name] + row * self.row_bytes


class BoundForward(Protocol):
    """A forward whose tensors all have their addresses."""

    def can_be_captured(self) -> bool:
        """Whether :meth:`run` may be recorded into a CUDA graph. An attempt may still fail."""

    def run(self) -> None:
        """Queue the forward on the session's stream.

        Raises:
            OperationError: the library refused the forward.
        """


class Executor(Protocol):
    """The network on one GPU. Forwards never overlap, so an executor may share scratch memory between them.

    Attributes:
        captures_all: capturing a shape takes little, so that every shape which comes again may be captured, those of
            prompt chunks and of later rows too.
    """

    captures_all: bool

    def bind(self, phase: Phase, side: Side, rows: range, memory: int, *, samples: bool, repeats: bool) -> BoundForward:
        """Bind one side of a shape.

        Args:
            side: where the small tensors lie, relative to ``memory``.
            rows: the rows of the caches that the forward uses.
            memory: device address of the arena.
            samples: some row may sample its tokens, or verify with an ensemble.
            repeats: the session captures this shape if it comes again. The others, those of prompt chunks where
                ``captures_all`` is False, are many, and few of them run twice: an executor should prepare little for
                them.

        Raises:
            OperationError: the library refused the shape or an address.
        """

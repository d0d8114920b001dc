# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The session of a GPU engine, in which caches never move and forwards follow each other without the host.

A forward that the host fills starts with one copy of a few integers per row to the device; one that follows another
starts with nothing, because its inputs are the other's results. Both end with one copy of the decode operators' small
results back, and with an event that the host can wait for while the next forward already runs.

Of a shape that comes again, the first forward of either side runs as it is, the second is captured into a CUDA graph,
and from then on a forward is one call. Decoding over the first cache rows comes in few row counts: a forward with fewer
rows is filled up with others. Prompt chunks are filled up to few widths, and forwards over later rows come in every
combination of rows; these are captured only where the executor says that it takes little. Attention may be given only
as many slots of the caches as its rows fill with it; the caches themselves never change (``engine.gpu.attended``).

An executor (``engine.gpu.executor``) runs the network, with whichever library it is for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from nld_trt.engine.gpu.arena import Arena, Side, Slot
from nld_trt.engine.gpu.attended import AttendedLengths
from nld_trt.engine.gpu.executor import BoundForward, Caches, Executor, SessionDevice
from nld_trt.engine.session import Array, EngineInfo, ShapeKey, StepBuffers
from nld_trt.errors import OperationError
from nld_trt.graph import contract
from nld_trt.graph.contract import Phase
from nld_trt.graph.precision import PRECISIONS

# With these row counts at most a third of the rows of a forward are empty, up to 256 rows.
_ROW_COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
# The same for the tokens of prompt chunks.
_CHUNK_WIDTHS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
# Rows come in many combinations, so a long-lived session would otherwise collect shapes without end. This many for each
# number of slots that attention is given.
_MAX_SHAPES = 256


@dataclass
class Forward:
    """One side of a shape.

    Attributes:
        bound: the forward as the executor runs it.
        finished: the event after the copy of its results.
        runs: the number of times that it ran outside of a graph.
        graph: the captured forward; None before it is captured.
    """

    buffers: StepBuffers
    side: Side
    bound: BoundForward
    finished: Any
    runs: int = 0
    graph: Any = None


@dataclass(frozen=True)
class Shape:
    """A shape that was asked for.

    Attributes:
        captured: its forwards follow each other and become CUDA graphs.
        forwards: the first, and the one that follows it once that was asked for.
    """

    arena: Arena
    phase: Phase
    captured: bool
    forwards: list[Forward] = field(default_factory=list)

    def forward(self, buffers: StepBuffers) -> Forward:
        return self.forwards[buffers is not self.forwards[0].buffers]


class GpuSession:
    """Runs an engine on the current GPU. Not thread-safe: one decode loop owns it."""

    def __init__(
        self,
        info: EngineInfo,
        device: SessionDevice,
        open_executor: Callable[[Caches], Executor],
        *,
        cuts_caches: bool = False,
    ) -> None:
        """Allocate the caches for every row and slot that the engine was built for, and open the executor on them.

        Args:
            cuts_caches: attention costs by the slots that it is given, used or not.

        Raises:
            OperationError: the GPU's memory is too small, or the executor cannot be opened.
        """
        self.info = info
        self.device = device.kind
        # On the CPU, ``launch`` returns when the forward has finished.
        self.runs_ahead = device.kind == "gpu"
        self._device = device
        config, limits = info.config, info.limits
        row_shape = config.num_key_value_heads, limits.capacity, config.head_dim
        row_bytes = prod(row_shape) * PRECISIONS[info.precision].bytes
        self._caches = Caches(
            addresses={
                name: self._allocate(row_bytes * limits.max_batch_size)
                for binding in contract.bindings("input", config=config)
                if binding.per_layer
                for name in binding.names(config)
            },
            row_shape=row_shape,
            row_bytes=row_bytes,
        )
        self._executor = open_executor(self._caches)
        sizes = [contract.axis_ranges(limits, phase) for phase in limits.phases]
        width, window = (max(ranges[axis][2] for ranges in sizes) for axis in ("width", "window"))
        size = Arena.lay_out(info, limits.max_batch_size, width, window, True, limits.capacity).size
        self._host = device.allocate_host(size)
        self._memory = self._allocate(size)
        # Keys or values of one layer and row, while two rows are exchanged. Allocated once the first are.
        self._exchange: int | None = None
        # In the order in which the shapes were last asked for.
        self._shapes: dict[ShapeKey, Shape] = {}
        self._lengths = AttendedLengths(limits, cuts_caches)
        # The slots that the rows of the next forward fill with it.
        self._slots = limits.capacity
        self._filled: StepBuffers | None = None

    @property
    def capacity(self) -> int:
        return self.info.limits.capacity

    @property
    def attended_lengths(self) -> tuple[int, ...]:
        return self._lengths.all

    def row_count(self, rows: int) -> int:
        if not self.runs_ahead:
            return rows  # an empty row costs as much as any other, and there are no graphs to save
        most = self.info.limits.max_batch_size
        return min((count for count in _ROW_COUNTS if rows <= count < most), default=most)

    def chunk_width(self, tokens: int, most: int) -> int:
        if not (self.runs_ahead and self._executor.captures_all):
            return tokens  # nothing is captured, so padding has no use
        return min((width for width in _CHUNK_WIDTHS if tokens <= width <= most), default=tokens)

    def reserve(self, rows: int, capacity: int, *, held: int | None = None) -> None:
        """Everything was allocated at the start; forwards from now on attend to at least ``capacity`` slots."""
        assert rows <= self.info.limits.max_batch_size, f"{rows} rows"
        assert capacity <= self.capacity, f"{capacity} slots"
        self._slots = capacity

    def step(self, rows: int, width: int, window: int, samples: bool = False, first: int = 0) -> StepBuffers:
        """Buffers for a forward. Buffers of all shapes share one memory: fill them after this call."""
        phase, attended = self._lengths.phase_for(width, window, self._slots)
        key = rows, width, window, samples, attended, first
        shape = self._shapes.pop(key, None) or self._new_shape(key, phase)
        self._shapes[key] = shape
        self._filled = shape.forwards[0].buffers
        self._filled.fill_constants()
        return self._filled

    def follow(self, buffers: StepBuffers) -> StepBuffers:
        shape = self._shapes[buffers.key]
        assert buffers.width == buffers.window, "only passes whose every token has logits prepare the next ones"
        if len(shape.forwards) == 1:
            self._add_forward(shape, buffers.key)
        return shape.forwards[buffers is shape.forwards[0].buffers].buffers

    def launch(self, buffers: StepBuffers) -> None:
        shape = self._shapes[buffers.key]
        forward = shape.forward(buffers)
        if buffers is self._filled:
            self._transfer(shape.arena.given, to_device=True)
            self._filled = None
        if forward.graph is None and forward.runs == 1 and shape.captured and forward.bound.can_be_captured():
            # A forward that the library cannot capture goes on running uncaptured.
            with suppress(OperationError):
                forward.graph = self._device.capture(lambda: self._run(forward))
        if forward.graph is None:
            self._run(forward)
            forward.runs += 1
        else:
            self._device.launch_graph(forward.graph)
        self._device.record(forward.finished)

    def wait(self, buffers: StepBuffers) -> None:
        forward = self._shapes[buffers.key].forward(buffers)
        self._device.wait(forward.finished)
        if not self.info.debug:
            return
        for name, slot in forward.side.outputs.items():
            # Only debug outputs are activations; the loop reads them as float32.
            if buffers.outputs[name].dtype != slot.dtype:
                buffers.outputs[name][...] = slot.view(self._host)

    def clear_row(self, row: int) -> None:
        row_bytes = self._caches.row_bytes
        for address in self._caches.addresses.values():
            self._device.clear(address + row * row_bytes, row_bytes)

    def copy_row(self, source: int, target: int, slots: int) -> None:
        for name in self._caches.addresses:
            self._copy_slots(self._caches.address(name, target), self._caches.address(name, source), slots)

    def swap_rows(self, one: int, other: int, slots: int) -> None:
        if self._exchange is None:
            self._exchange = self._allocate(self._caches.row_bytes)
        for name in self._caches.addresses:
            first, second = self._caches.address(name, one), self._caches.address(name, other)
            self._copy_slots(self._exchange, first, slots)
            self._copy_slots(first, second, slots)
            self._copy_slots(second, self._exchange, slots)

    def _copy_slots(self, target: int, source: int, slots: int) -> None:
        """Queue a copy of the first slots of one row of a cache."""
        heads, capacity, head_dim = self._caches.row_shape
        slot_bytes = head_dim * PRECISIONS[self.info.precision].bytes
        self._device.copy_pieces(target, source, slots * slot_bytes, stride=capacity * slot_bytes, count=heads)

    def _new_shape(self, key: ShapeKey, phase: Phase) -> Shape:
        rows, width, window, _, attended, first = key
        ranges = contract.axis_ranges(self.info.limits, phase)
        for axis, size in (("batch", rows), ("width", width), ("window", window), ("attended", attended)):
            low, _, high = ranges[axis]
            assert low <= size <= high, f"{axis} {size} is outside {low} to {high} of the {phase} phase"
        assert first + rows <= self.info.limits.max_batch_size, f"rows {first} to {first + rows} of the caches"
        if len(self._shapes) == _MAX_SHAPES * len(self._lengths.all):
            self._forget_one()
        captured = self._executor.captures_all or (width == window and first == 0)
        shape = Shape(Arena.lay_out(self.info, *key[:-1]), phase, captured)
        self._add_forward(shape, key)
        return shape

    def _add_forward(self, shape: Shape, key: ShapeKey) -> None:
        """The next side of a shape."""
        side = shape.arena.sides[len(shape.forwards)]
        count, _, _, samples, _, first = key
        rows = range(first, first + count)
        bound = self._executor.bind(shape.phase, side, rows, self._memory, samples=samples, repeats=shape.captured)
        buffers = StepBuffers(*key, self._views(side.inputs), self._views(side.outputs))
        shape.forwards.append(Forward(buffers, side, bound, self._device.event()))

    def _forget_one(self) -> None:
        """Drop the shape that was not asked for longest. One that is not captured is soon made again."""
        cheap = (key for key, shape in self._shapes.items() if not shape.captured)
        self._device.synchronize()
        for forward in self._shapes.pop(next(cheap, None) or next(iter(self._shapes))).forwards:
            self._device.destroy_event(forward.finished)
            if forward.graph is not None:
                self._device.destroy_graph(forward.graph)

    def _allocate(self, size: int) -> int:
        """Zeroed device memory, which lives as long as the session."""
        address = self._device.allocate(size)
        self._device.clear(address, size)
        return address

    def _run(self, forward: Forward) -> None:
        """Queue the forward and the copy of its results."""
        forward.bound.run()
        self._transfer(forward.side.results, to_device=False)

    def _transfer(self, part: slice, *, to_device: bool) -> None:
        ends = self._memory + part.start, self._host.ctypes.data + part.start
        target, source = ends if to_device else reversed(ends)
        self._device.copy(target, source, part.stop - part.start)

    def _views(self, slots: Mapping[str, Slot]) -> dict[str, Array]:
        """Host arrays of a side's bindings. Activations are float32: copies, where the engine computes in less."""
        activation = PRECISIONS[self.info.precision].numpy_type
        is_copied = activation != np.float32
        return {
            name: np.zeros(slot.shape, np.float32) if is_copied and slot.dtype == activation else slot.view(self._host)
            for name, slot in slots.items()
        }

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A compiled plan at work: caches that never move, forwards that follow each other without the host.

A forward that the host fills starts with one copy of a few integers per row to the device; one that follows another
starts with nothing, because its inputs are the other's results. Both end with one copy of the decode operators' small
results back, and with an event that the host can wait for while the next forward runs already.

Each shape that decoding uses has an execution context of its own for either side of its arena, as a captured graph
belongs to the context that it was captured from; their scratch memory is one. The first forward of a shape runs as it
is, the second is captured into a CUDA graph, and from then on a forward is one call. Prompt chunks come in every width
and are not captured.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from nld_trt.engine.session import Array, EngineInfo, StepBuffers
from nld_trt.engine.trt_arena import ALIGNMENT, Arena, Side, Slot
from nld_trt.engine.trt_build import BuilderLog
from nld_trt.engine.trt_device import Device
from nld_trt.engine.trt_flavour import Flavour
from nld_trt.errors import OperationError
from nld_trt.graph import contract
from nld_trt.graph.contract import Phase
from nld_trt.graph.precision import PRECISIONS

_NOT_CAPTURED: Phase = "prompt"
# Prompts leave chunks of every length behind, so that a long-lived session would collect shapes without end.
_MAX_SHAPES = 64


@dataclass
class Forward:
    """One side of a shape.

    Attributes:
        context: its own, or the phase's where it is not captured.
        landed: event behind the copy of its results.
        runs: how often it ran outside of a graph.
        graph: of the whole forward, once captured.
    """

    buffers: StepBuffers
    side: Side
    phase: Phase
    context: Any
    landed: Any
    runs: int = 0
    graph: Any = None


class TrtSession:
    """Runs a plan on the current GPU. Not thread-safe: one decode loop owns it."""

    runs_ahead = True

    def __init__(self, flavour: Flavour, plan: Path, info: EngineInfo, device: Device | None = None) -> None:
        """Load the plan, allocate the caches for every row and slot that it was built for.

        Raises:
            OperationError: the library refuses the plan, or the GPU's memory is too small.
        """
        trt = flavour.load()
        self.info = info
        self._device = device or Device(flavour)
        self._log = BuilderLog()
        self._runtime = trt.Runtime(self._log.logger(trt))
        self._engine = self._load(plan)
        self._check_bindings()
        config, limits = info.config, info.limits
        self._cache_shape = (config.num_key_value_heads, limits.capacity, config.head_dim)
        self._row_bytes = prod(self._cache_shape) * PRECISIONS[info.precision].bytes
        self._caches = {
            name: self._device.allocate(self._row_bytes * limits.max_batch_size)
            for binding in contract.bindings("input")
            if binding.per_layer
            for name in binding.names(config)
        }
        self._context_kind = self._context_settings(trt)
        self._scratch_size = self._engine.device_memory_size_v2
        self._scratch = self._device.allocate(max(self._scratch_size, ALIGNMENT))
        self._prompt_context = self._make_context(_NOT_CAPTURED)
        sizes = [contract.axis_ranges(limits, phase) for phase in limits.phases]
        width, window = (max(ranges[axis][2] for ranges in sizes) for axis in ("width", "window"))
        size = Arena.lay_out(info, limits.max_batch_size, width, window, True).size
        self._host = self._device.allocate_host(size)
        self._memory = self._device.allocate(size)
        self._steps: dict[tuple[int, int, int, bool], tuple[Arena, list[Forward]]] = {}
        self._prompt_side: Side | None = None
        self._filled: StepBuffers | None = None

    @property
    def capacity(self) -> int:
        return self.info.limits.capacity

    def reserve(self, rows: int, capacity: int, *, empty: bool = False) -> None:
        """Everything was allocated at the start; this checks the request only."""
        assert rows <= self.info.limits.max_batch_size, f"{rows} rows"
        assert capacity <= self.capacity, f"{capacity} slots"

    def step(self, rows: int, width: int, window: int, draws: bool = False) -> StepBuffers:
        """Buffers for a forward. Buffers of all shapes share one memory: fill them after this call."""
        key = rows, width, window, draws
        if key not in self._steps:
            self._check_shape(rows, width, window)
            if len(self._steps) == _MAX_SHAPES:
                self._forget(next(iter(self._steps)))
            self._steps[key] = Arena.lay_out(self.info, *key), []
            self._add_forward(key)
        self._filled = self._steps[key][1][0].buffers
        self._filled.fill_constants()
        return self._filled

    def follow(self, buffers: StepBuffers) -> StepBuffers:
        _, forwards = self._steps[buffers.shape]
        if len(forwards) == 1:
            self._add_forward(buffers.shape)
        return forwards[buffers is forwards[0].buffers].buffers

    def launch(self, buffers: StepBuffers) -> None:
        arena, forwards = self._steps[buffers.shape]
        forward = forwards[buffers is not forwards[0].buffers]
        if buffers is self._filled:
            self._transfer(arena.given, to_device=True)
            self._filled = None
        if forward.graph is None and forward.runs == 1 and self._can_be_captured(forward):
            self._device.begin_capture()
            self._run(forward)
            forward.graph = self._device.end_capture()
        if forward.graph is None:
            self._run(forward)
            forward.runs += 1
        else:
            self._device.launch(forward.graph)
        self._device.record(forward.landed)

    def wait(self, buffers: StepBuffers) -> None:
        _, forwards = self._steps[buffers.shape]
        forward = forwards[buffers is not forwards[0].buffers]
        self._device.wait(forward.landed)
        for name, slot in forward.side.outputs.items():
            # Only debug outputs are activations; the loop reads them as float32.
            if buffers.outputs[name].dtype != slot.dtype:
                buffers.outputs[name][...] = slot.view(self._host)

    def execute(self, buffers: StepBuffers) -> None:
        self.launch(buffers)
        self.wait(buffers)

    def clear_row(self, row: int) -> None:
        for address in self._caches.values():
            self._device.clear(address + row * self._row_bytes, self._row_bytes)

    def move_row(self, source: int, target: int) -> None:
        for address in self._caches.values():
            self._device.copy(address + target * self._row_bytes, address + source * self._row_bytes, self._row_bytes)

    def _load(self, plan: Path) -> Any:
        with plan.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            engine = self._runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise OperationError(f"{plan} cannot be loaded", details=self._log.report())
        return engine

    def _check_bindings(self) -> None:
        engine, info = self._engine, self.info
        found = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
        expected = {
            name
            for binding in contract.BINDINGS
            if info.debug or not binding.debug
            for name in binding.names(info.config)
        }
        problems = [f"{name} is missing" for name in sorted(expected - found)]
        problems += [f"{name} is not in the contract" for name in sorted(found - expected)]
        phases = info.limits.phases
        if engine.num_optimization_profiles != len(phases):
            problems.append(f"it has {engine.num_optimization_profiles} profiles for {len(phases)} phases")
        if problems:
            raise OperationError("the plan does not follow the step contract", details=problems)

    def _context_settings(self, trt: Any) -> Any:
        """What contexts are created with: memory from the session; and kernels of the very shape before they are run.

        TensorRT for RTX compiles kernels for a shape in the background, unless told otherwise, and runs others until
        they are done: a graph captured before that would keep the others for good.
        """
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        kernels = getattr(trt, "DynamicShapesKernelSpecializationStrategy", None)
        if kernels is None:
            return strategy
        settings = self._engine.create_runtime_config()
        settings.set_execution_context_allocation_strategy(strategy)
        settings.dynamic_shapes_kernel_specialization_strategy = kernels.EAGER
        return settings

    def _make_context(self, phase: Phase) -> Any:
        """A context of a phase. They never run at once, so one block of memory serves all."""
        context = self._engine.create_execution_context(self._context_kind)
        index = self.info.limits.phases.index(phase)
        if context is None or not context.set_optimization_profile_async(index, self._device.stream):
            raise OperationError(f"the {phase} phase cannot be set up", details=self._log.report())
        context.set_device_memory(self._scratch, self._scratch_size)
        for name, address in self._caches.items():
            context.set_tensor_address(name, address)
            context.set_tensor_address(name.replace("past_", "present_"), address)
        self._device.synchronize()
        return context

    def _add_forward(self, key: tuple[int, int, int, bool]) -> None:
        """The next side of a shape."""
        rows, width, window, _ = key
        arena, forwards = self._steps[key]
        side = arena.sides[len(forwards)]
        phase = self.info.limits.phase_for(width, window)
        captured = phase != _NOT_CAPTURED
        context = self._make_context(phase) if captured else self._prompt_context
        if captured:
            self._bind(context, side, rows)
        buffers = StepBuffers(*key, self._views(side.inputs), self._views(side.outputs))
        forwards.append(Forward(buffers, side, phase, context, self._device.event()))

    def _can_be_captured(self, forward: Forward) -> bool:
        if forward.phase == _NOT_CAPTURED:
            return False
        # TensorRT for RTX says so; the other library fails while capturing.
        ask = getattr(forward.context, "is_stream_capturable", None)
        return ask is None or bool(ask(self._device.stream))

    def _forget(self, key: tuple[int, int, int, bool]) -> None:
        self._device.synchronize()
        for forward in self._steps.pop(key)[1]:
            if forward.graph is not None:
                self._device.destroy(forward.graph)

    def _run(self, forward: Forward) -> None:
        """Queue the forward and the copy of its results."""
        if forward.phase == _NOT_CAPTURED and self._prompt_side is not forward.side:
            self._bind(forward.context, forward.side, forward.buffers.rows)
            self._prompt_side = forward.side
        if not forward.context.execute_async_v3(self._device.stream):
            raise OperationError(f"the engine failed in the {forward.phase} phase", details=self._log.report())
        self._transfer(forward.side.results, to_device=False)

    def _transfer(self, part: slice, *, to_device: bool) -> None:
        ends = self._memory + part.start, self._host.ctypes.data + part.start
        target, source = ends if to_device else reversed(ends)
        self._device.copy(target, source, part.stop - part.start)

    def _check_shape(self, rows: int, width: int, window: int) -> None:
        limits = self.info.limits
        phase = limits.phase_for(width, window)
        ranges = contract.axis_ranges(limits, phase)
        for axis, size in (("batch", rows), ("width", width), ("window", window)):
            low, _, high = ranges[axis]
            assert low <= size <= high, f"{axis} {size} is outside {low} to {high} of the {phase} phase"

    def _views(self, slots: Mapping[str, Slot]) -> dict[str, Array]:
        """Host arrays of a side's bindings; activations are float32 copies."""
        activation = PRECISIONS[self.info.precision].numpy_type
        return {
            name: np.zeros(slot.shape, np.float32) if slot.dtype == activation else slot.view(self._host)
            for name, slot in slots.items()
        }

    def _bind(self, context: Any, side: Side, rows: int) -> None:
        for name in self._caches:
            context.set_input_shape(name, (rows, *self._cache_shape))
        for name, slot in (*side.inputs.items(), *side.outputs.items()):
            context.set_tensor_address(name, self._memory + slot.offset)
        for name, slot in side.inputs.items():
            context.set_input_shape(name, slot.shape)

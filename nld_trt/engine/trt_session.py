# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A compiled plan at work: one execution context per phase on shared memory, caches that never move.

Per forward, one copy brings a few integers per row to the device and one brings the decode operators'
small results back. Everything runs on one stream.
"""

from __future__ import annotations

import ctypes
import mmap
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nld_trt.engine.session import Array, EngineInfo, StepBuffers
from nld_trt.engine.trt_build import BuilderLog
from nld_trt.engine.trt_flavour import Flavour
from nld_trt.errors import InputError, OperationError
from nld_trt.graph import contract
from nld_trt.graph.contract import Phase
from nld_trt.graph.precision import PRECISIONS

# What TensorRT wants of the addresses that it is given.
_ALIGNMENT = 256


class Device:
    """Memory of the current GPU and one stream. Addresses are plain integers."""

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
        self._call("cudaMemsetAsync", address, 0, size, self.stream)
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

    def wait(self) -> None:
        self._call("cudaStreamSynchronize", self.stream)

    def _call(self, function: str, *arguments: Any) -> Any:
        status, *values = getattr(self._cuda, function)(*arguments)
        if status != self._cuda.cudaError_t.cudaSuccess:
            raise OperationError(f"the GPU refused {function}: {status.name}")
        return values[0] if values else None


@dataclass(frozen=True)
class Slot:
    """Where a small binding lies in the arena."""

    name: str
    direction: contract.Direction
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    offset: int

    @property
    def size(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    def view(self, memory: npt.NDArray[np.uint8]) -> Array:
        array: Array = memory[self.offset : self.offset + self.size].view(self.dtype).reshape(self.shape)
        return array


@dataclass(frozen=True)
class Arena:
    """The small bindings of one forward, inputs first: one copy up, one copy down."""

    slots: tuple[Slot, ...]
    inputs_end: int
    size: int

    @classmethod
    def lay_out(cls, info: EngineInfo, rows: int, width: int, window: int) -> Arena:
        sizes = {"batch": rows, "width": width, "window": window, **contract.fixed_axes(info.config)}
        slots: list[Slot] = []
        offset = inputs_end = 0
        directions: tuple[contract.Direction, ...] = ("input", "output")
        for direction in directions:
            for binding in contract.bindings(direction, debug=info.debug):
                if binding.per_layer:
                    continue
                activation = binding.dtype == "activation"
                dtype = PRECISIONS[info.precision].numpy_type if activation else np.dtype(binding.dtype)
                slot = Slot(binding.name, direction, tuple(sizes[axis] for axis in binding.axes), dtype, offset)
                slots.append(slot)
                offset += -(-slot.size // _ALIGNMENT) * _ALIGNMENT
            if direction == "input":
                inputs_end = offset
        return cls(tuple(slots), inputs_end, offset)


class TrtSession:
    """Runs a plan on the current GPU. Not thread-safe: one decode loop owns it."""

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
        self._contexts = self._make_contexts(trt)
        sizes = [contract.axis_ranges(limits, phase) for phase in limits.phases]
        largest = (max(ranges[axis][2] for ranges in sizes) for axis in ("width", "window"))
        size = Arena.lay_out(info, limits.max_batch_size, *largest).size
        self._host = self._device.allocate_host(size)
        self._arena_address = self._device.allocate(size)
        self._steps: dict[tuple[int, int, int], tuple[Arena, StepBuffers]] = {}
        self._bound: dict[Phase, Arena] = {}

    @property
    def capacity(self) -> int:
        return self.info.limits.capacity

    def reserve(self, rows: int, capacity: int, *, empty: bool = False) -> None:
        """Everything was allocated at the start; this checks the request only."""
        assert rows <= self.info.limits.max_batch_size, f"{rows} rows"
        assert capacity <= self.capacity, f"{capacity} slots"

    def step(self, rows: int, width: int, window: int) -> StepBuffers:
        """Buffers for a forward. Buffers of all shapes share one memory: fill them after this call."""
        key = rows, width, window
        if key not in self._steps:
            self._check_shape(*key)
            arena = Arena.lay_out(self.info, *key)
            self._steps[key] = arena, self._buffers(arena, *key)
        return self._steps[key][1]

    def execute(self, buffers: StepBuffers) -> None:
        arena, _ = self._steps[buffers.rows, buffers.width, buffers.window]
        phase = self.info.limits.phase_for(buffers.width, buffers.window)
        device, host = self._device, self._host.ctypes.data
        if self._bound.get(phase) is not arena:
            self._bind(phase, arena, buffers.rows)
        device.copy(self._arena_address, host, arena.inputs_end)
        if not self._contexts[phase].execute_async_v3(device.stream):
            raise OperationError(f"the engine failed in the {phase} phase", details=self._log.report())
        outputs_size = arena.size - arena.inputs_end
        device.copy(host + arena.inputs_end, self._arena_address + arena.inputs_end, outputs_size)
        device.wait()
        for slot in arena.slots:
            # Only debug outputs are activations; the loop reads them as float32.
            if slot.direction == "output" and buffers.outputs[slot.name].dtype != slot.dtype:
                buffers.outputs[slot.name][...] = slot.view(self._host)

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

    def _make_contexts(self, trt: Any) -> dict[Phase, Any]:
        """A context per phase. They never run at once, so one block of memory serves all."""
        size = self._engine.device_memory_size_v2
        memory = self._device.allocate(max(size, _ALIGNMENT))
        contexts = {}
        for index, phase in enumerate(self.info.limits.phases):
            context = self._engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
            if context is None or not context.set_optimization_profile_async(index, self._device.stream):
                raise OperationError(f"the {phase} phase cannot be set up", details=self._log.report())
            context.set_device_memory(memory, size)
            for name, address in self._caches.items():
                context.set_tensor_address(name, address)
                context.set_tensor_address(name.replace("past_", "present_"), address)
            contexts[phase] = context
        self._device.wait()
        return contexts

    def _check_shape(self, rows: int, width: int, window: int) -> None:
        limits = self.info.limits
        phase = limits.phase_for(width, window)
        ranges = contract.axis_ranges(limits, phase)
        for axis, size in (("batch", rows), ("width", width), ("window", window)):
            low, _, high = ranges[axis]
            assert low <= size <= high, f"{axis} {size} is outside {low} to {high} of the {phase} phase"

    def _buffers(self, arena: Arena, rows: int, width: int, window: int) -> StepBuffers:
        arrays: dict[contract.Direction, dict[str, Array]] = {"input": {}, "output": {}}
        activation = PRECISIONS[self.info.precision].numpy_type
        for slot in arena.slots:
            own = slot.dtype == activation
            arrays[slot.direction][slot.name] = np.zeros(slot.shape, np.float32) if own else slot.view(self._host)
        return StepBuffers(rows, width, window, arrays["input"], arrays["output"])

    def _bind(self, phase: Phase, arena: Arena, rows: int) -> None:
        context = self._contexts[phase]
        for name in self._caches:
            context.set_input_shape(name, (rows, *self._cache_shape))
        for slot in arena.slots:
            context.set_tensor_address(slot.name, self._arena_address + slot.offset)
            if slot.direction == "input":
                context.set_input_shape(slot.name, slot.shape)
        self._bound[phase] = arena

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for a GPU and for TensorRT's runtime on it, stricter than both.

It runs nothing before it is waited for, and refuses a forward with an unbound tensor, with caches that are not bound in
place, or with a shape outside the phase's profile.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from nld_trt.engine.session import EngineInfo
from nld_trt.errors import OperationError
from nld_trt.graph import contract
from nld_trt.graph.precision import PRECISIONS


class FakeDevice:
    """Host memory that behaves like a device with one stream."""

    stream = 7

    def __init__(self):
        self.memory: list[np.ndarray] = []
        self.queue: list[Any] = []
        self.captured: list[Any] | None = None
        self.log: list[str] = []
        self.events = 0

    def allocate_host(self, size):
        self.memory.append(np.zeros(size, np.uint8))
        return self.memory[-1]

    def allocate(self, size):
        return self.allocate_host(size).ctypes.data

    def enqueue(self, work):
        (self.queue if self.captured is None else self.captured).append(work)

    def copy(self, target, source, size):
        self.log.append("copy")
        self.enqueue(lambda: ctypes.memmove(target, source, size))

    def clear(self, address, size):
        self.enqueue(lambda: ctypes.memset(address, 0, size))

    def event(self):
        self.events += 1
        return []

    def destroy_event(self, event):
        self.events -= 1

    def record(self, event):
        assert self.captured is None
        event.append("queued")
        self.queue.append(event.clear)

    def wait(self, event):
        while event:
            self.queue.pop(0)()

    def synchronize(self):
        assert self.captured is None
        while self.queue:
            self.queue.pop(0)()

    def capture(self, work):
        self.captured = []
        try:
            work()
            return self.captured
        except OperationError:
            return None
        finally:
            self.captured = None

    def launch(self, graph):
        self.log.append("graph")
        self.queue.extend(graph)

    def destroy_graph(self, graph):
        graph.clear()

    def array(self, address, shape, dtype):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        assert any(block.ctypes.data <= address <= block.ctypes.data + block.nbytes - size for block in self.memory)
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address)).view(dtype).reshape(shape)


@dataclass
class FakeContext:
    """Writes tokens + 1 as block_tokens, 10 · profile as next_seed, and the first token into the key cache."""

    engine: FakeEngine
    profile: int = -1
    addresses: dict[str, int] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    scratch: tuple[int, int] | None = None

    def set_optimization_profile_async(self, index, stream):
        assert stream == FakeDevice.stream
        self.profile = index
        return True

    def is_stream_capturable(self, stream):
        assert stream == FakeDevice.stream
        return self.engine.capturable

    def set_device_memory(self, address, size):
        self.scratch = address, size

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return name not in self.engine.refuses

    def set_input_shape(self, name, shape):
        self.shapes[name] = tuple(shape)
        return name not in self.engine.refuses

    def execute_async_v3(self, stream):
        assert stream == FakeDevice.stream
        assert self.scratch[1] == self.engine.device_memory_size_v2
        if self.engine.device.captured is not None and not self.engine.records:
            return False
        addresses, shapes = dict(self.addresses), dict(self.shapes)
        assert addresses.keys() == set(self.engine.names)
        self.check_shapes(shapes)
        self.engine.device.log.append("run")
        self.engine.device.enqueue(lambda: self.run(addresses, shapes))
        return self.engine.works

    def check_shapes(self, shapes):
        ranges = contract.axis_ranges(self.engine.info.limits, self.engine.info.limits.phases[self.profile])
        rows = shapes["tokens"][0]
        for binding in contract.bindings("input"):
            for name in binding.names(self.engine.info.config):
                for axis, size in zip(binding.axes, shapes[name], strict=True):
                    low, _, high = ranges.get(axis, (size, size, size))
                    assert low <= size <= high, (name, axis, size)
                assert binding.axes[0] != "batch" or shapes[name][0] == rows

    def run(self, addresses, shapes):
        device = self.engine.device
        for layer in range(self.engine.info.config.num_hidden_layers):
            for kind in ("key", "value"):
                assert addresses[f"past_{kind}_{layer}"] == addresses[f"present_{kind}_{layer}"]
        rows, window = shapes["logit_rows"]
        tokens = device.array(addresses["tokens"], shapes["tokens"], np.int32)
        device.array(addresses["block_tokens"], (rows, window), np.int32)[...] = tokens[:, :window] + 1
        device.array(addresses["next_seed"], (rows,), np.int32)[...] = 10 * self.profile
        device.array(addresses["next_tokens"], (rows, window), np.int32)[...] = tokens[:, :window] + 1
        quota = device.array(addresses["quota"], (rows,), np.int32)
        device.array(addresses["accepted_count"], (rows,), np.int32)[...] = quota
        kind = PRECISIONS[self.engine.info.precision].numpy_type
        device.array(addresses["past_key_0"], shapes["past_key_0"], kind)[:, 0, 0, 0] = tokens[:, 0]
        if "final_hidden" in addresses:
            hidden = (*shapes["tokens"], self.engine.info.config.hidden_size)
            device.array(addresses["final_hidden"], hidden, kind)[...] = 1.5


@dataclass
class FakeEngine:
    info: EngineInfo
    device: FakeDevice
    works: bool = True
    capturable: bool = True
    # Whether it runs in a capture, for a library that cannot be asked.
    records: bool = True
    refuses: tuple[str, ...] = ()
    kernels: list[tuple[str, Any]] = field(default_factory=list)
    num_optimization_profiles: int = 3
    device_memory_size_v2: int = 4096
    names: list[str] = field(default_factory=list)

    @property
    def num_io_tensors(self):
        return len(self.names)

    def get_tensor_name(self, index):
        return self.names[index]

    def create_runtime_config(self):
        config = SimpleNamespace()
        config.set_execution_context_allocation_strategy = lambda strategy: setattr(config, "memory", strategy)
        config.create_runtime_cache = lambda: {}
        config.set_runtime_cache = lambda cache: setattr(config, "cache", cache) or True
        return config

    def create_execution_context(self, config):
        assert config.memory == "user managed"
        self.kernels.append((config.dynamic_shapes_kernel_specialization_strategy, config.cache))
        return FakeContext(self)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for TensorRT's runtime on the stand-in for a GPU, stricter than the real one.

It refuses a forward with an unbound tensor, with caches that are not bound in
place, or with a shape outside the profile.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from nld_trt.engine.session import EngineInfo
from nld_trt.graph import contract
from nld_trt.graph.precision import PRECISIONS
from tests.machine.fake_cuda import STREAM, FakeCuda


@dataclass
class FakeContext:
    """Writes tokens + 1 as block_tokens, 10 · profile as bonus_token, and the first token into the key cache."""

    engine: FakeEngine
    profile: int = -1
    addresses: dict[str, int] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    scratch: tuple[int, int] | None = None

    def set_optimization_profile_async(self, index, stream):
        assert stream == STREAM
        self.profile = index
        return True

    def is_stream_capturable(self, stream):
        assert stream == STREAM
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
        assert stream == STREAM
        assert self.scratch[1] == self.engine.device_memory_size_v2
        if self.engine.cuda.captured is not None and not self.engine.records:
            return False
        addresses, shapes = dict(self.addresses), dict(self.shapes)
        assert addresses.keys() == set(self.engine.names)
        self.check_shapes(shapes)
        self.engine.cuda.log.append("run")
        self.engine.cuda.enqueue(lambda: self.run(addresses, shapes))
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
        cuda = self.engine.cuda
        for layer in range(self.engine.info.config.num_hidden_layers):
            for kind in ("key", "value"):
                assert addresses[f"past_{kind}_{layer}"] == addresses[f"present_{kind}_{layer}"]
        rows, window = shapes["logit_rows"]
        tokens = cuda.array(addresses["tokens"], shapes["tokens"], np.int32)
        cuda.array(addresses["block_tokens"], (rows, window), np.int32)[...] = tokens[:, :window] + 1
        cuda.array(addresses["bonus_token"], (rows,), np.int32)[...] = 10 * self.profile
        cuda.array(addresses["next_tokens"], (rows, window), np.int32)[...] = tokens[:, :window] + 1
        quota = cuda.array(addresses["quota"], (rows,), np.int32)
        cuda.array(addresses["accepted_count"], (rows,), np.int32)[...] = quota
        kind = PRECISIONS[self.engine.info.precision].numpy_type
        cuda.array(addresses["past_key_0"], shapes["past_key_0"], kind)[:, 0, 0, 0] = tokens[:, 0]
        if "final_hidden" in addresses:
            hidden = (*shapes["tokens"], self.engine.info.config.hidden_size)
            cuda.array(addresses["final_hidden"], hidden, kind)[...] = 1.5


@dataclass
class FakeEngine:
    info: EngineInfo
    cuda: FakeCuda
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

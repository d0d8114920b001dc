# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The session's own logic (phases, shapes, addresses, order of copies) on a stand-in for GPU and library.

The stand-in is stricter than a GPU: it runs nothing before it is waited for, and refuses a forward with an
unbound tensor, with caches that are not bound in place, or with a shape outside the phase's profile.
"""

from __future__ import annotations

import ctypes
import json
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nld_trt.engine.session import EngineInfo, execute
from nld_trt.engine.trt_flavour import TRT_RTX, Flavour
from nld_trt.engine.trt_session import TrtSession
from nld_trt.errors import InputError, OperationError
from nld_trt.graph import contract
from nld_trt.graph.contract import Limits
from nld_trt.graph.precision import PRECISIONS
from nld_trt.model.config import ModelConfig

LIMITS = Limits(max_batch_size=3, max_seq_len=24, max_block_length=8, prompt_chunk=16)


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


@pytest.fixture
def start(goldens, tmp_path, monkeypatch):
    """Start a session; returns it with its device. Keyword arguments change the engine."""

    def begin(*, info=None, loads=True, drop=(), **changes):
        raw = json.loads((goldens / "tiny-a" / "config.json").read_text())
        info = info or EngineInfo(ModelConfig.from_hf(raw), LIMITS, "trt-rtx", "bf16", has_adapter=True)
        info = replace(info, debug=changes.pop("debug", False))
        device = FakeDevice()
        engine = FakeEngine(info, device, **changes)
        engine.names = [
            name
            for binding in contract.BINDINGS
            if info.debug or not binding.debug
            for name in binding.names(info.config)
            if name not in drop
        ]
        runtime = SimpleNamespace(deserialize_cuda_engine=lambda content: engine if loads else None)
        library = SimpleNamespace(
            ILogger=type("ILogger", (), {"__init__": lambda self: None}),
            Runtime=lambda logger: runtime,
            ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED="user managed"),
            DynamicShapesKernelSpecializationStrategy=SimpleNamespace(EAGER="eager", NONE="none"),
        )
        monkeypatch.setattr(Flavour, "load", lambda self: library)
        (tmp_path / "nld.plan").write_bytes(b"plan")
        return TrtSession(TRT_RTX, tmp_path / "nld.plan", info, device), device

    return begin


def forward(session, rows, width, window, first=5):
    buffers = session.step(rows, width, window)
    buffers.inputs["tokens"][...] = first + np.arange(rows)[:, None]
    execute(session, buffers)
    return buffers


@pytest.mark.parametrize(
    ("shape", "phase"), [((1, 1, 1), "token"), ((3, 8, 8), "block"), ((2, 2, 1), "block"), ((2, 16, 1), "prompt")]
)
def test_each_shape_runs_in_its_phase_and_comes_back(start, shape, phase):
    session, _ = start()
    rows, width, window = shape
    buffers = forward(session, rows, width, window)
    assert buffers.outputs["block_tokens"].tolist() == [[6 + row] * window for row in range(rows)]
    assert buffers.outputs["next_seed"].tolist() == [10 * contract.PHASES.index(phase)] * rows


def test_shapes_can_alternate_in_one_memory(start):
    session, _ = start()
    for first, shape in enumerate([(3, 16, 8), (1, 1, 1), (2, 8, 8), (3, 16, 8), (1, 1, 1), (2, 5, 3), (2, 8, 8)]):
        buffers = forward(session, *shape, first=100 * first)
        assert (buffers.outputs["block_tokens"][:, 0] == 100 * first + 1 + np.arange(shape[0])).all()


def test_shape_outside_the_engine_is_refused(start):
    session, _ = start()
    for shape, axis in (
        ((4, 8, 8), "batch 4"),
        ((1, 17, 1), "width 17"),
        ((1, 16, 9), "window 9"),
        ((1, 1, 2), "window 2"),
    ):
        with pytest.raises(AssertionError, match=axis):
            session.step(*shape)


def test_capacity_is_what_was_built(start):
    session, _ = start()
    session.reserve(3, 5)
    assert session.capacity == LIMITS.capacity == 32
    with pytest.raises(AssertionError, match="33 slots"):
        session.reserve(1, 33)
    with pytest.raises(AssertionError, match="4 rows"):
        session.reserve(4, 1)


def test_moved_row_takes_its_caches_along(start):
    session, device = start()
    forward(session, 3, 8, 8)
    session.move_row(2, 0)
    device.synchronize()
    config = session.info.config
    shape = (LIMITS.max_batch_size, config.num_key_value_heads, LIMITS.capacity, config.head_dim)
    cache = device.array(session._caches["past_key_0"], shape, PRECISIONS["bf16"].numpy_type)
    assert cache[:, 0, 0, 0].astype(int).tolist() == [7, 6, 7]


def test_debug_outputs_are_widened(start):
    session, _ = start(debug=True)
    hidden = forward(session, 2, 8, 8).outputs["final_hidden"]
    assert hidden.dtype == np.float32
    assert (hidden == 1.5).all()


def test_failed_forward_is_an_error(start):
    session, _ = start(works=False)
    with pytest.raises(OperationError, match="failed in the token phase"):
        forward(session, 1, 1, 1)


def test_forwards_follow_each_other_without_the_host(start):
    """What one hands on the next reads, what stays the same is given once, and only results are copied."""
    session, device = start()
    buffers = session.step(2, 8, 8)
    buffers.inputs["tokens"][...] = 5
    buffers.inputs["quota"][...] = 3
    session.launch(buffers)
    device.log.clear()
    for count in range(1, 9):
        following = session.follow(buffers)
        session.launch(following)
        session.wait(buffers)
        assert (buffers.outputs["block_tokens"] == 5 + count).all()
        assert (buffers.outputs["accepted_count"] == 3).all()
        buffers = following
    runs = [entry for entry in device.log if entry != "copy"]
    # Either side runs once as it is, is captured in its second forward, and is one call from then on.
    assert runs == ["run", "run", "graph", "run", "graph", *["graph"] * 5]
    assert device.log.count("copy") == 3


def test_a_forward_is_read_while_the_next_is_still_queued(start):
    session, device = start()
    first = session.step(1, 1, 1)
    first.inputs["tokens"][...] = 7
    session.launch(first)
    second = session.follow(first)
    session.launch(second)
    session.wait(first)
    assert first.outputs["block_tokens"].tolist() == [[8]]
    assert device.queue
    session.wait(second)
    assert second.outputs["block_tokens"].tolist() == [[9]]


@pytest.mark.parametrize("shape", [(2, 16, 1), (2, 5, 1), (3, 16, 8)])
def test_prompt_chunks_are_not_captured(start, shape):
    """Short ones, and those beside a block, no more than long ones."""
    session, device = start()
    contexts = len(session._engine.kernels)
    for first in range(4):
        forward(session, *shape, first=first)
    assert "graph" not in device.log
    assert len(session._engine.kernels) == contexts


def test_contexts_wait_for_the_kernels_of_their_shape_only_where_it_stays(start):
    session, _ = start()
    forward(session, 2, 8, 8)
    kinds, caches = zip(*session._engine.kernels, strict=True)
    assert kinds == ("none", "none", "none", "eager")
    assert all(cache is caches[0] for cache in caches), "compiled kernels are shared"


def test_a_plan_that_says_it_cannot_be_captured_runs_as_it_is(start):
    session, device = start(capturable=False)
    for first in range(4):
        buffers = forward(session, 2, 8, 8, first=first)
        assert (buffers.outputs["block_tokens"][:, 0] == first + 1 + np.arange(2)).all()
    assert "graph" not in device.log


def test_a_plan_that_fails_while_it_is_captured_runs_as_it_is(start, monkeypatch):
    monkeypatch.delattr(FakeContext, "is_stream_capturable")
    session, device = start(records=False)
    for first in range(4):
        for shape in [(2, 8, 8), (1, 1, 1)]:
            buffers = forward(session, *shape, first=first)
            assert (buffers.outputs["block_tokens"][:, 0] == first + 1 + np.arange(shape[0])).all()
    assert "graph" not in device.log


@pytest.mark.parametrize("name", ["tokens", "past_key_0"])
def test_what_the_library_refuses_is_named(start, name):
    with pytest.raises(OperationError, match=f"refused (memory|shape .*) of {name}"):
        forward(start(refuses=(name,))[0], 1, 1, 1)


def test_row_counts_are_few_and_hold_the_rows(start):
    session, _ = start(info=replace(start()[0].info, limits=replace(LIMITS, max_batch_size=100)))
    counts = {rows: session.row_count(rows) for rows in range(1, 101)}
    assert all(rows <= count <= max(4, 1.5 * rows) for rows, count in counts.items())
    assert len(set(counts.values())) <= 14
    assert max(counts.values()) == 100


def test_a_cleared_row_is_zero_and_its_neighbours_are_not(start):
    session, device = start()
    forward(session, 3, 8, 8)
    session.clear_row(1)
    device.synchronize()
    config = session.info.config
    shape = (LIMITS.max_batch_size, config.num_key_value_heads, LIMITS.capacity, config.head_dim)
    cache = device.array(session._caches["past_key_0"], shape, PRECISIONS["bf16"].numpy_type)
    assert cache[:, 0, 0, 0].astype(int).tolist() == [5, 0, 7]


def test_shapes_are_forgotten_in_the_end(start, monkeypatch):
    monkeypatch.setattr("nld_trt.engine.trt_session._MAX_SHAPES", 3)
    session, device = start()
    for first in range(3):
        for shape in [(1, 1, 1), (2, 1, 1), (3, 1, 1), (1, 8, 8), (2, 16, 1)]:
            buffers = forward(session, *shape, first=first)
            assert (buffers.outputs["block_tokens"][:, 0] == first + 1 + np.arange(shape[0])).all()
    assert len(session._shapes) == device.events == 3


def test_prompts_do_not_push_out_what_decoding_repeats(start, monkeypatch):
    monkeypatch.setattr("nld_trt.engine.trt_session._MAX_SHAPES", 3)
    session, device = start()
    for first in range(2):
        forward(session, 2, 8, 8, first=first)
    for width in range(9, 17):
        forward(session, 2, width, 1)
        forward(session, 1, width, 1)
    device.log.clear()
    forward(session, 2, 8, 8)
    assert "graph" in device.log


def test_plan_with_other_bindings_is_refused(start):
    with pytest.raises(OperationError, match=r"(?s)step contract.*next_seed is missing.*1 profiles for 3 phases"):
        start(drop=("next_seed",), num_optimization_profiles=1)


def test_plan_that_the_library_refuses_is_refused(start):
    with pytest.raises(OperationError, match="cannot be loaded"):
        start(loads=False)


def test_missing_cuda_package_is_named(goldens, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cuda.bindings", None)
    from nld_trt.engine.trt_device import Device

    with pytest.raises(InputError, match=r'cuda-python.*\n.*pip install "nld-trt\[rtx\]"'):
        Device(TRT_RTX)

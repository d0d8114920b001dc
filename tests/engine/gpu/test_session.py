# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The session's own logic (phases, shapes, addresses, order of copies) on a stand-in for GPU and library."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from nld_trt.engine.session import EngineInfo, execute
from nld_trt.engine.trt.executor import open_session
from nld_trt.engine.trt.flavour import TRT_RTX, Flavour
from nld_trt.errors import InputError, OperationError
from nld_trt.graph import contract
from nld_trt.graph.contract import Limits
from nld_trt.graph.precision import PRECISIONS
from nld_trt.machine.device import Device
from nld_trt.model.config import ModelConfig
from tests.engine.gpu.fake_tensorrt import FakeContext, FakeEngine
from tests.machine import fake_cuda
from tests.machine.fake_cuda import FakeCuda

LIMITS = Limits(max_batch_size=3, max_seq_len=24, max_block_length=8, prompt_chunk=16)


@pytest.fixture
def start(goldens, tmp_path, monkeypatch):
    """Start a session; returns it with its GPU. Keyword arguments change the engine."""

    def begin(*, info=None, loads=True, drop=(), **changes):
        raw = json.loads((goldens / "tiny-a" / "config.json").read_text(encoding="utf-8"))
        info = info or EngineInfo(ModelConfig.from_hf(raw), LIMITS, "trt-rtx", "bf16", has_adapter=True)
        info = replace(info, debug=changes.pop("debug", False))
        cuda = FakeCuda()
        engine = FakeEngine(info, cuda, **changes)
        engine.names = [
            name
            for binding in contract.BINDINGS
            if (info.debug or not binding.debug) and binding.exists(info.config)
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
        return open_session(TRT_RTX, tmp_path / "nld.plan", info, Device(cuda)), cuda

    return begin


def kernels(session):
    """What the contexts were created with."""
    return session._executor._plan.engine.kernels


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
    assert buffers.outputs["bonus_token"].tolist() == [10 * contract.PHASES.index(phase)] * rows


def test_shapes_can_alternate_in_one_memory(start):
    session, _ = start()
    for first, shape in enumerate([(3, 16, 8), (1, 1, 1), (2, 8, 8), (3, 16, 8), (1, 1, 1), (2, 5, 3), (2, 8, 8)]):
        buffers = forward(session, *shape, first=100 * first)
        assert (buffers.outputs["block_tokens"][:, 0] == 100 * first + 1 + np.arange(shape[0])).all()


def test_what_a_forward_hands_on_is_read_in_its_own_shape(start):
    """Beside a prompt chunk the window is narrower than the new tokens, and the host reads every row's next pass."""
    session, _ = start()
    outputs = forward(session, 3, 16, 8).outputs
    assert outputs["next_tokens"].tolist() == [[6 + row] * 8 for row in range(3)]


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


def test_forwards_attend_to_the_slots_that_were_reserved(start, monkeypatch):
    monkeypatch.setattr("nld_trt.engine.gpu.attended._LEAST", 8)
    session, _ = start()
    assert session.step(2, 8, 8).attended == LIMITS.capacity, "nothing was reserved"
    for slots, attended in ((5, 8), (9, 16), (20, 32), (3, 8)):
        session.reserve(2, slots)
        for shape in ((2, 8, 8), (2, 16, 1)):
            assert forward(session, *shape).inputs["attended_slots"].tolist() == list(range(attended))


def test_a_length_that_comes_again_is_captured_once(start, monkeypatch):
    monkeypatch.setattr("nld_trt.engine.gpu.attended._LEAST", 8)
    session, cuda = start()
    for slots in (5, 20, 5, 20):
        session.reserve(2, slots)
        forward(session, 2, 8, 8)
    assert cuda.log.count("run") == 4, "either length runs once as it is, and once to be captured"
    assert cuda.log.count("graph") == 2


def test_one_token_runs_where_it_reads_least(start, monkeypatch):
    monkeypatch.setattr("nld_trt.engine.gpu.attended._LEAST", 8)
    session, _ = start()
    for slots, phase in ((5, "block"), (20, "token")):
        session.reserve(1, slots)
        assert forward(session, 1, 1, 1).outputs["bonus_token"].tolist() == [10 * contract.PHASES.index(phase)]


@pytest.fixture
def key_cache():
    """The first layer's key cache of a session, [rows, heads, slots] of its first numbers."""

    def read(session, cuda):
        cuda.run_queue()
        config = session.info.config
        shape = (LIMITS.max_batch_size, config.num_key_value_heads, LIMITS.capacity, config.head_dim)
        return cuda.array(session._caches.addresses["past_key_0"], shape, PRECISIONS["bf16"].numpy_type)[..., 0]

    return read


def test_a_copied_row_has_the_slots_that_were_asked_for(start, key_cache):
    session, cuda = start()
    before = key_cache(session, cuda)
    before[:] = np.arange(3)[:, None, None] + 1
    session.copy_row(2, 0, 5)
    after = key_cache(session, cuda).astype(int)
    assert (after[0, :, :5] == 3).all()
    assert (after[0, :, 5:] == 1).all()
    assert (after[1:] == np.array([2, 3])[:, None, None]).all()


def test_swapped_rows_have_each_others_slots(start, key_cache):
    session, cuda = start()
    key_cache(session, cuda)[:] = np.arange(3)[:, None, None] + 1
    session.swap_rows(0, 2, 7)
    after = key_cache(session, cuda).astype(int)
    assert after[:, 0, 0].tolist() == [3, 2, 1]
    assert after[:, 1, 6].tolist() == [3, 2, 1]
    assert after[:, 1, 7].tolist() == [1, 2, 3]


def test_a_forward_over_later_rows_writes_to_no_other(start, key_cache):
    session, cuda = start()
    for _ in range(3):
        buffers = session.step(2, 8, 8, False, 1)
        buffers.inputs["tokens"][...] = 5 + np.arange(2)[:, None]
        execute(session, buffers)
    assert key_cache(session, cuda)[:, 0, 0].astype(int).tolist() == [0, 5, 6]
    assert "graph" not in cuda.log, "their combinations are too many to be captured"


def test_later_rows_follow_each_other_as_well(start):
    session, _ = start()
    buffers = session.step(2, 8, 8, False, 1)
    execute(session, buffers)
    following = session.follow(buffers)
    execute(session, following)
    assert following.first == 1
    assert session.follow(following) is buffers


def test_debug_outputs_are_widened(start):
    session, _ = start(debug=True)
    hidden = forward(session, 2, 8, 8).outputs["final_hidden"]
    assert hidden.dtype == np.float32
    assert (hidden == 1.5).all()


def test_failed_forward_is_an_error(start):
    session, _ = start(works=False)
    with pytest.raises(OperationError, match="failed in the token profile"):
        forward(session, 1, 1, 1)


def test_forwards_follow_each_other_without_the_host(start):
    """What one hands on the next reads, what stays the same is given once, and only results are copied."""
    session, cuda = start()
    buffers = session.step(2, 8, 8)
    buffers.inputs["tokens"][...] = 5
    buffers.inputs["quota"][...] = 3
    session.launch(buffers)
    cuda.log.clear()
    for count in range(1, 9):
        following = session.follow(buffers)
        session.launch(following)
        session.wait(buffers)
        assert (buffers.outputs["block_tokens"] == 5 + count).all()
        assert (buffers.outputs["accepted_count"] == 3).all()
        buffers = following
    runs = [entry for entry in cuda.log if entry not in ("copy", "mark")]
    # Either side runs once as it is, is captured in its second forward, and is one call from then on.
    assert runs == ["run", "run", "graph", "run", "graph", *["graph"] * 5]
    assert cuda.log.count("copy") == 3


def test_a_forward_is_read_while_the_next_is_still_queued(start):
    session, cuda = start()
    first = session.step(1, 1, 1)
    first.inputs["tokens"][...] = 7
    session.launch(first)
    second = session.follow(first)
    session.launch(second)
    session.wait(first)
    assert first.outputs["block_tokens"].tolist() == [[8]]
    assert cuda.queue
    session.wait(second)
    assert second.outputs["block_tokens"].tolist() == [[9]]


@pytest.mark.parametrize("shape", [(2, 16, 1), (2, 5, 1), (3, 16, 8)])
def test_prompt_chunks_are_not_captured(start, shape):
    """Short ones, and those beside a block, no more than long ones."""
    session, cuda = start()
    contexts = len(kernels(session))
    for first in range(4):
        forward(session, *shape, first=first)
    assert "graph" not in cuda.log
    assert len(kernels(session)) == contexts


def test_contexts_wait_for_the_kernels_of_their_shape_only_where_it_stays(start):
    session, _ = start()
    forward(session, 2, 8, 8)
    kinds, caches = zip(*kernels(session), strict=True)
    assert kinds == ("none", "none", "none", "eager")
    assert all(cache is caches[0] for cache in caches), "compiled kernels are shared"


def test_a_plan_that_says_it_cannot_be_captured_runs_as_it_is(start):
    session, cuda = start(capturable=False)
    for first in range(4):
        buffers = forward(session, 2, 8, 8, first=first)
        assert (buffers.outputs["block_tokens"][:, 0] == first + 1 + np.arange(2)).all()
    assert "graph" not in cuda.log


def test_a_plan_that_fails_while_it_is_captured_runs_as_it_is(start, monkeypatch):
    monkeypatch.delattr(FakeContext, "is_stream_capturable")
    session, cuda = start(records=False)
    for first in range(4):
        for shape in [(2, 8, 8), (1, 1, 1)]:
            buffers = forward(session, *shape, first=first)
            assert (buffers.outputs["block_tokens"][:, 0] == first + 1 + np.arange(shape[0])).all()
    assert "graph" not in cuda.log


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
    session, cuda = start()
    forward(session, 3, 8, 8)
    session.clear_row(1)
    cuda.run_queue()
    config = session.info.config
    shape = (LIMITS.max_batch_size, config.num_key_value_heads, LIMITS.capacity, config.head_dim)
    cache = cuda.array(session._caches.addresses["past_key_0"], shape, PRECISIONS["bf16"].numpy_type)
    assert cache[:, 0, 0, 0].astype(int).tolist() == [5, 0, 7]


def test_caches_are_zero_before_the_first_forward(start):
    session, cuda = start()
    cuda.run_queue()
    size = LIMITS.max_batch_size * session._caches.row_bytes
    assert not any(cuda.array(address, (size,), np.uint8).any() for address in session._caches.addresses.values())


def test_shapes_are_forgotten_in_the_end(start, monkeypatch):
    monkeypatch.setattr("nld_trt.engine.gpu.session._MAX_SHAPES", 3)
    session, cuda = start()
    for first in range(3):
        for shape in [(1, 1, 1), (2, 1, 1), (3, 1, 1), (1, 8, 8), (2, 16, 1)]:
            buffers = forward(session, *shape, first=first)
            assert (buffers.outputs["block_tokens"][:, 0] == first + 1 + np.arange(shape[0])).all()
    assert len(session._shapes) == cuda.events == 3


def test_prompts_do_not_push_out_what_decoding_repeats(start, monkeypatch):
    monkeypatch.setattr("nld_trt.engine.gpu.session._MAX_SHAPES", 3)
    session, cuda = start()
    for first in range(2):
        forward(session, 2, 8, 8, first=first)
    for width in range(9, 17):
        forward(session, 2, width, 1)
        forward(session, 1, width, 1)
    cuda.log.clear()
    forward(session, 2, 8, 8)
    assert "graph" in cuda.log


def test_plan_with_other_bindings_is_refused(start):
    with pytest.raises(
        OperationError,
        match=r"(?s)step contract.*bonus_token is missing.*1 optimisation profiles, not 3: prompt, token, block",
    ):
        start(drop=("bonus_token",), num_optimization_profiles=1)


def test_plan_that_the_library_refuses_is_refused(start):
    with pytest.raises(OperationError, match="cannot be loaded"):
        start(loads=False)


def test_the_package_that_reaches_the_gpu_is_named_with_the_extra_of_the_library(tmp_path, monkeypatch):
    fake_cuda.install(monkeypatch, None)
    with pytest.raises(InputError, match=r'trt-rtx engine needs .*cuda-bindings.*\n.*pip install "nld-trt\[rtx\]"'):
        open_session(TRT_RTX, tmp_path / "nld.plan", None)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Passes that the engine makes: who shares the batch and who is ahead of whom changes none of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request
from nld_trt.graph import contract
from nld_trt.names import NLD_MODES, NLD_SPECULATIVE
from tests.golden_cases import golden_prompts

NAME = "tiny-a"


@pytest.fixture(scope="module")
def prompts(goldens):
    return golden_prompts(goldens, NAME)


@pytest.fixture(scope="module")
def session(golden_session):
    return golden_session(NAME)


class Recorder(Batch):
    """Keeps, for each row, the passes that the engine was given: by the host, or by the forward before."""

    def __init__(self, session, **options):
        super().__init__(session, **options)
        self.passes = {}
        self.followed = 0

    def _follow(self, forward):
        self.followed += 1
        return super()._follow(forward)

    def _start(self, forward):
        for index, row in enumerate(forward.rows):
            if row.finish_reason is None and not row.in_prefill:
                self.passes.setdefault(row, []).append(read_pass(forward.buffers.inputs, index))
        return super()._start(forward)


def read_pass(inputs, index):
    """What a row's inputs say, without their padding and the lists of drafts that nobody verifies by them."""
    count = inputs["valid_count"][index]
    verified_by_list = inputs["rejection"][index] and inputs["causal"][index]
    found = {
        binding.name: inputs[binding.name][index].tolist()
        for binding in contract.bindings("input")
        if binding.axes == ("batch",)
    }
    found["eos_token_id"] = inputs["eos_token_id"][index].tolist()
    found["tokens"] = inputs["tokens"][index, :count].tolist()
    if verified_by_list:
        found |= {name: inputs[name][index, :count].tolist() for name in ("drafted_ids", "drafted_probabilities")}
    return found


REQUESTS = st.builds(
    Request,
    prompt_ids=st.just(()),
    mode=st.sampled_from(NLD_MODES),
    lora=st.booleans(),
    max_new_tokens=st.integers(1, 60),
    block_length=st.integers(1, 16),
    threshold=st.sampled_from([0.0, 0.3, 0.9]),
    eos_token_id=st.sampled_from([-1, 11, 20, (11, 20), (20, 73, 30, 11)]),
    temperature=st.sampled_from([0.0, 0.0, 0.8]),
    seed=st.integers(0, 100),
    acceptance=st.sampled_from(["match", "reject"]),
    max_thinking_tokens=st.none() | st.integers(0, 30),
    end_think_token_id=st.sampled_from([13, 20]),
)


def with_prompts(requests, prompts, first):
    """The same with prompts, and with rejection sampling and thinking budgets where they can be had."""
    nothing = {"max_thinking_tokens": None, "end_think_token_id": None}
    return [
        replace(
            request,
            prompt_ids=prompts[(first + index) % len(prompts)],
            acceptance=request.acceptance if request.mode == "linear" and not request.threshold else None,
            **(nothing if request.mode in NLD_SPECULATIVE or request.max_thinking_tokens is None else {}),
        )
        for index, request in enumerate(requests)
    ]


def answers(batch, requests):
    results = dict(generate(batch, requests))
    return [(results[index].output_ids, results[index].finish_reason) for index in range(len(requests))]


def passes_alone(session, request):
    """Every pass after the prefill of a request that shares its batch with no one."""
    batch = Recorder(session)
    row = batch.submit(request)
    list(batch.run())
    return batch.passes.get(row, [])


def check_passes(batch, rows, session):
    """The rows had the passes that they have alone; the last may be missing where a row was cancelled."""
    for row in rows:
        found, expected = batch.passes.get(row, []), passes_alone(session, row.request)
        assert found == (expected[: len(found)] if row.finish_reason == "cancelled" else expected), row.request


@settings(max_examples=40)
@given(
    st.lists(REQUESTS, min_size=2, max_size=7),
    st.integers(0, 1000),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=7, max_size=7),
)
def test_a_pass_does_not_depend_on_who_joins_or_leaves(session, prompts, requests, first, schedule):
    """Requests join after some forwards, and now and then one that is there is cancelled."""
    batch = Recorder(session, max_rows=4)
    rows = []
    for request, (wait, leaves) in zip(with_prompts(requests, prompts, first), schedule, strict=False):
        rows.append(batch.submit(request))
        for _ in range(wait):
            batch.step()
        if leaves < len(rows) - 1:
            batch.cancel(rows[leaves])
    list(batch.run())
    check_passes(batch, rows, session)


def test_rows_of_different_block_lengths_keep_their_drafts(session, prompts):
    """The lists of one row go on into the padding of the shorter block, and a row that joins makes both be copied."""
    sampled = {"mode": "linear", "acceptance": "reject", "temperature": 0.8, "max_new_tokens": 40, "eos_token_id": -1}
    requests = [
        Request(prompts[index], block_length=length, seed=7, **sampled) for index, length in enumerate((2, 3, 5))
    ]
    batch = Recorder(session)
    rows = [batch.submit(request) for request in requests[:2]]
    for _ in range(9):
        batch.step()
    rows.append(batch.submit(requests[2]))
    list(batch.run())
    assert batch.followed > 0
    assert any("drafted_ids" in each for each in batch.passes[rows[0]])
    check_passes(batch, rows, session)


@pytest.mark.parametrize("mode", NLD_MODES)
def test_each_of_several_eos_ids_ends_the_passes(session, prompts, mode):
    """Also where one ends a block of diffusion that still has masks after it."""
    endless = Request(prompts[0], mode, block_length=8, threshold=0.6, max_new_tokens=40, eos_token_id=-1)
    ((tokens, _),) = answers(Batch(session), [endless])
    others = [token for token in range(101, 255) if token not in tokens][:3]
    for each in {*tokens}:
        ((found, reason),) = answers(Batch(session), [replace(endless, eos_token_id=[*others, each])])
        assert (found, reason) == (tokens[: tokens.index(each) + 1], "stop")


@pytest.mark.parametrize("mode", NLD_MODES)
def test_every_mode_goes_on_without_the_host(session, prompts, mode):
    batch = Recorder(session)
    list(generate(batch, [Request(prompts[0], mode=mode, block_length=8, max_new_tokens=60, eos_token_id=-1)]))
    assert batch.followed >= 0.7 * batch.steps - 2


@settings(max_examples=20)
@given(st.lists(REQUESTS, min_size=1, max_size=6), st.integers(0, 1000))
def test_empty_rows_change_no_answer(session, prompts, requests, first):
    requests = with_prompts(requests, prompts, first)
    expected = answers(Batch(session), requests)
    session.row_count = lambda rows: min(rows + 1 + rows % 2, session.info.limits.max_batch_size)
    try:
        assert answers(Batch(session), requests) == expected
    finally:
        del session.row_count


@pytest.fixture
def ahead(session, monkeypatch):
    """The session as one whose device works by itself."""
    monkeypatch.setattr(session, "runs_ahead", True, raising=False)
    return session


@settings(max_examples=40)
@given(st.lists(REQUESTS, min_size=1, max_size=6), st.integers(0, 1000), st.integers(1, 6))
def test_running_ahead_of_the_host_changes_no_answer(session, prompts, requests, first, rows):
    requests = with_prompts(requests, prompts, first)
    expected = answers(Batch(session, max_rows=rows), requests)
    session.runs_ahead = True
    try:
        assert answers(Batch(session, max_rows=rows), requests) == expected
    finally:
        del session.runs_ahead


def test_the_engine_is_one_forward_ahead_of_what_was_read(ahead, prompts):
    batch = Batch(ahead)
    row = batch.submit(Request(prompts[0], mode="ar", max_new_tokens=30, eos_token_id=-1))
    while row.in_prefill:
        batch.step()
    batch.step()
    assert batch.steps - 1 == sum(row.counters.forwards.values())


def test_a_row_that_is_cancelled_while_the_engine_runs_ends_at_once(ahead, prompts):
    batch = Batch(ahead)
    keeps, leaves = (
        batch.submit(Request(prompt, mode="linear", max_new_tokens=60, eos_token_id=-1)) for prompt in prompts[:2]
    )
    for _ in range(6):
        batch.step()
    before = list(leaves.emitted)
    batch.cancel(leaves)
    emissions = batch.step()
    assert [emission.finish_reason for emission in emissions if emission.row is leaves] == ["cancelled"]
    list(batch.run())
    assert leaves.emitted == before
    alone = Batch(ahead)
    expected = alone.submit(keeps.request)
    list(alone.run())
    assert keeps.emitted == expected.emitted

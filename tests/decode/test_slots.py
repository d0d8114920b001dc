# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Cache slots that a forward attends to: as many as its rows hold, and not as many as they may come to hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nld_trt.decode import slots as slots_module
from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request
from nld_trt.engine.ort import session as session_module
from nld_trt.names import NLD_MODES
from tests.golden_cases import golden_prompts

NAME = "tiny-b"


@pytest.fixture(scope="module")
def prompts(goldens):
    return golden_prompts(goldens, NAME)


@pytest.fixture(scope="module")
def session(golden_session):
    return golden_session(NAME)


@pytest.fixture(scope="module")
def growing():
    """Caches that have no slot more than the next forward needs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots_module, "rounded", lambda slots: slots)
        patch.setattr(session_module, "_CAPACITY_STEP", 1)
        yield


@pytest.fixture
def short(monkeypatch):
    """Caches that are shorter than the engines of these tests."""
    monkeypatch.setattr(slots_module, "_LEAST", 64)


class Checked(Batch):
    """Checks of every forward that attention is given the slots that it writes, and notes how many it is given."""

    def __init__(self, session, **options):
        super().__init__(session, **options)
        self.attended = []

    def _start(self, forward):
        buffers = forward.buffers
        assert max(buffers.inputs["cache_length"]) + buffers.width <= buffers.attended
        self.attended.append(buffers.attended)
        return super()._start(forward)


def decode(batch, requests):
    results = dict(generate(batch, requests))
    return [results[index] for index in range(len(requests))]


def longest_request(session, prompt, mode="ar"):
    """A request that names no number of tokens, as most clients of a server send it."""
    tokens = session.info.limits.max_seq_len - len(prompt)
    return Request(prompt, mode=mode, max_new_tokens=tokens, eos_token_id=-1)


@pytest.mark.parametrize("mode", NLD_MODES)
def test_a_request_that_may_become_long_costs_no_more_than_what_it_holds(engine, prompts, short, mode):
    session = engine(NAME).open_session("ort")
    prompt = min(prompts, key=len)
    batch = Checked(session)
    # Blocks that are short also when they are expanded for the mode quadratic.
    row = batch.submit(replace(longest_request(session, prompt, mode), block_length=4))
    while len(row.emitted) < 20:
        batch.step()
    assert max(batch.attended) < session.info.limits.max_seq_len / 2


def test_a_row_that_may_become_long_does_not_slow_down_the_others(engine, prompts, short):
    session = engine(NAME).open_session("ort")
    prompt = min(prompts, key=len)
    batch = Checked(session)
    batch.submit(longest_request(session, prompt))
    other = batch.submit(Request(prompt, mode="ar", max_new_tokens=20, eos_token_id=-1))
    while other.finish_reason is None:
        batch.step()
    assert max(batch.attended) < session.info.limits.max_seq_len / 2


def test_caches_grow_seldom_while_a_request_becomes_long(engine, prompts, short):
    session = engine(NAME).open_session("ort")
    batch = Checked(session)
    decode(batch, [longest_request(session, prompts[0])])
    assert 2 < len(set(batch.attended)) <= 5
    assert batch.attended == sorted(batch.attended)


@pytest.mark.parametrize("ahead", [False, True])
@settings(max_examples=15)
@given(data=st.data())
def test_growing_caches_change_no_text(session, prompts, growing, ahead, data):
    """Rows of different lengths, in all modes, beside each other; the engine may be ahead of the host."""
    modes = st.sampled_from(NLD_MODES)
    requests = [
        Request(
            data.draw(st.sampled_from(prompts)), mode=data.draw(modes), max_new_tokens=data.draw(st.integers(1, 90)),
            block_length=data.draw(st.integers(2, 16)), eos_token_id=-1, threshold=0.0,
        )
        for _ in range(data.draw(st.integers(1, 3)))
    ]  # fmt: skip
    session.runs_ahead = ahead
    try:
        grown = decode(Checked(session), requests)
    finally:
        del session.runs_ahead
    whole = Batch(session)
    whole.slots.least = session.info.limits.capacity
    kept = decode(whole, requests)
    for request, one, other in zip(requests, grown, kept, strict=True):
        assert one.output_ids == other.output_ids, replace(request, prompt_ids=())

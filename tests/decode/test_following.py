# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Rows that go on by themselves: the engine's next pass is the host's, and running ahead of it changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nld_trt.decode.batch import Decoder
from nld_trt.decode.fill import fill
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request
from nld_trt.engine.session import StepBuffers
from nld_trt.names import MODES

NAME = "tiny-a"
BY_SLOT = ("tokens", "drafted_ids", "drafted_shares")


@pytest.fixture(scope="module")
def prompts(goldens):
    cases = json.loads((goldens / NAME / "cases.json").read_text(encoding="utf-8"))["cases"]
    return sorted({tuple(case["prompt_ids"]) for case in cases})


@pytest.fixture(scope="module")
def session(golden_session):
    return golden_session(NAME)


class Blank:
    """Takes a pass from the host and runs nothing."""

    def __init__(self, info):
        self.info = info

    def row_count(self, rows):
        return rows

    def step(self, *shape):
        return StepBuffers.allocate(self.info, *shape)


class Auditor(Decoder):
    """Compares every pass that the engine has prepared with the one that the host would have made."""

    followed = 0

    def _follow(self, flight):
        prepared = self.session.follow(flight.buffers)
        self.prepared = {name: array.copy() for name, array in prepared.inputs.items()}
        return super()._follow(flight)

    def _land(self, flight):
        if flight.passes is None:
            passes = [row.next_pass(1) for row in flight.rows]
            wanted = dict(fill(Blank(self.session.info), flight.rows, passes).inputs)
            assert np.array_equal(self.prepared.pop("drawn_slots"), wanted.pop("drawn_slots"))
            for index, part in enumerate(passes):
                for name, array in wanted.items():
                    # Padding is never looked at, and lists only where drafts are verified by them.
                    if part.candidates is None and name.startswith("drafted_"):
                        continue
                    looked_at = (index, slice(len(part.tokens))) if name in BY_SLOT else index
                    assert np.array_equal(self.prepared[name][looked_at], array[looked_at]), (name, part)
            self.followed += len(passes)
        return super()._land(flight)


REQUESTS = st.builds(
    Request,
    prompt_ids=st.just(()),
    mode=st.sampled_from(MODES),
    lora=st.booleans(),
    max_new_tokens=st.integers(1, 60),
    block_length=st.integers(1, 16),
    threshold=st.sampled_from([0.0, 0.3, 0.9]),
    eos_token_id=st.sampled_from([-1, 11, 20, (11, 20), (20, 73, 30, 11)]),
    temperature=st.sampled_from([0.0, 0.0, 0.8]),
    seed=st.integers(0, 100),
    acceptance=st.sampled_from(["match", "reject"]),
)


def with_prompts(requests, prompts, first):
    """The same with prompts, and with rejection sampling where it can be had."""
    return [
        replace(
            request,
            prompt_ids=prompts[(first + index) % len(prompts)],
            acceptance=request.acceptance if request.mode == "linear" and not request.threshold else None,
        )
        for index, request in enumerate(requests)
    ]


def answers(decoder, requests):
    results = dict(generate(decoder, requests))
    return [(results[index].output_ids, results[index].finish_reason) for index in range(len(requests))]


@settings(max_examples=40)
@given(st.lists(REQUESTS, min_size=1, max_size=6), st.integers(0, 1000))
def test_the_engine_prepares_the_pass_that_the_host_would_make(session, prompts, requests, first):
    list(generate(Auditor(session), with_prompts(requests, prompts, first)))


def test_rows_of_different_block_lengths_are_prepared(session, prompts):
    """The engine's lists go on into the padding of the shorter block."""
    sampled = {"mode": "linear", "acceptance": "reject", "temperature": 0.8, "max_new_tokens": 40, "eos_token_id": -1}
    requests = [Request(prompts[index], block_length=length, **sampled) for index, length in enumerate((2, 3))]
    decoder = Auditor(session)
    list(generate(decoder, requests))
    assert decoder.followed > 0


@pytest.mark.parametrize("mode", MODES)
def test_each_of_several_eos_ids_is_followed(session, prompts, mode):
    """Also where it ends a block of diffusion that still has masks behind it."""
    endless = Request(prompts[0], mode, block_length=8, threshold=0.6, max_new_tokens=40, eos_token_id=-1)
    ((tokens, _),) = answers(Decoder(session), [endless])
    others = [token for token in range(101, 255) if token not in tokens][:3]
    list(generate(Auditor(session), [replace(endless, eos_token_id=[*others, each]) for each in {*tokens}]))


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_followed(session, prompts, mode):
    decoder = Auditor(session)
    list(generate(decoder, [Request(prompts[0], mode=mode, block_length=8, max_new_tokens=60, eos_token_id=-1)]))
    assert decoder.followed >= 0.7 * decoder.steps - 2


@settings(max_examples=20)
@given(st.lists(REQUESTS, min_size=1, max_size=6), st.integers(0, 1000))
def test_empty_rows_change_no_answer(session, prompts, requests, first):
    requests = with_prompts(requests, prompts, first)
    expected = answers(Decoder(session), requests)
    session.row_count = lambda rows: min(rows + 1 + rows % 2, session.info.limits.max_batch_size)
    try:
        assert answers(Decoder(session), requests) == expected
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
    expected = answers(Decoder(session, max_rows=rows), requests)
    session.runs_ahead = True
    try:
        assert answers(Decoder(session, max_rows=rows), requests) == expected
    finally:
        del session.runs_ahead


def test_the_engine_is_one_forward_ahead_of_what_was_read(ahead, prompts):
    decoder = Decoder(ahead)
    row = decoder.submit(Request(prompts[0], mode="ar", max_new_tokens=30, eos_token_id=-1))
    while row.in_prefill:
        decoder.step()
    decoder.step()
    assert decoder.steps - 1 == sum(row.counters.forwards.values())


def test_a_row_that_is_cancelled_while_the_engine_runs_ends_at_once(ahead, prompts):
    decoder = Decoder(ahead)
    keeps, leaves = (
        decoder.submit(Request(prompt, mode="linear", max_new_tokens=60, eos_token_id=-1)) for prompt in prompts[:2]
    )
    for _ in range(6):
        decoder.step()
    before = list(leaves.emitted)
    decoder.cancel(leaves)
    emissions = decoder.step()
    assert [emission.finish_reason for emission in emissions if emission.row is leaves] == ["cancelled"]
    list(decoder.run())
    assert leaves.emitted == before
    alone = Decoder(ahead)
    expected = alone.submit(keeps.request)
    list(alone.run())
    assert keeps.emitted == expected.emitted

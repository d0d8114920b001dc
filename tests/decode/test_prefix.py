# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Prefix reuse on a real engine: a chat's next turn computes what is new, and says the same."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request
from nld_trt.names import NLD_MODES
from tests.golden_cases import golden_prompts

NAME = "tiny-b"


@pytest.fixture(scope="module")
def prompts(goldens):
    return sorted(golden_prompts(goldens, NAME), key=len)


@pytest.fixture(scope="module")
def session(golden_session):
    return golden_session(NAME)


def answer(batch, prompt, mode="ar", tokens=24):
    return dict(generate(batch, [Request(prompt, mode, max_new_tokens=tokens, eos_token_id=-1)]))[0]


@pytest.mark.parametrize("mode", NLD_MODES)
def test_the_next_turn_reuses_prompt_and_answer(session, prompts, mode):
    batch = Batch(session, prefix_caching=True)
    first = answer(batch, prompts[-1], mode)
    prompt = (*prompts[-1], *first.output_ids, *prompts[0][:5])
    again = answer(batch, prompt, mode)
    assert again.cached_tokens == first.cache_length
    assert again.output_ids == answer(Batch(session), prompt, mode).output_ids


def test_nothing_is_reused_unless_it_was_asked_for(session, prompts):
    batch = Batch(session)
    assert [answer(batch, prompts[-1]).cached_tokens for _ in range(2)] == [0, 0]


TURNS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 40), st.sampled_from(NLD_MODES), st.integers(1, 20)),
    min_size=2,
    max_size=8,
)


@settings(max_examples=15)
@given(TURNS, st.integers(1, 4))
def test_answers_do_not_depend_on_what_was_reused(session, prompts, turns, rows):
    requests = [
        Request(prompts[-1 - family][:length], mode, max_new_tokens=tokens, eos_token_id=-1)
        for family, length, mode, tokens in turns
    ]
    with_donors = dict(generate(Batch(session, prefix_caching=True, max_rows=rows), requests))
    alone = [dict(generate(Batch(session), [request]))[0] for request in requests]
    assert [with_donors[index].output_ids for index in range(len(requests))] == [each.output_ids for each in alone]


def test_a_donor_survives_a_cache_that_shrinks_around_it(session, prompts):
    batch = Batch(session, prefix_caching=True)
    short = answer(batch, prompts[-1], tokens=8)
    long = answer(batch, prompts[1], tokens=400)
    assert long.cache_length > 300
    again = answer(batch, (*prompts[-1], *short.output_ids), tokens=8)
    assert again.cached_tokens == short.cache_length
    assert again.output_ids == answer(Batch(session), (*prompts[-1], *short.output_ids), tokens=8).output_ids

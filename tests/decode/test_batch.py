# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The batch: limits, cuts, cancellation, and rows that do not notice each other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request
from nld_trt.errors import InputError
from nld_trt.names import NLD_MODES, NLD_SPECULATIVE
from tests.conftest import GOLDEN_LIMITS
from tests.decode.chunks import without_chunks
from tests.golden_cases import golden_prompts

NAME = "tiny-b"


@pytest.fixture(scope="module")
def prompts(goldens):
    return golden_prompts(goldens, NAME)


@pytest.fixture(scope="module")
def session(golden_session):
    return golden_session(NAME)


def decode(session, requests, **options):
    results = dict(generate(Batch(session, **options), requests))
    return [results[index] for index in range(len(requests))]


REQUESTS = st.builds(
    dict,
    prompt=st.integers(0, 10**6),
    mode=st.sampled_from(NLD_MODES),
    lora=st.booleans(),
    max_new_tokens=st.integers(1, 60),
    block_length=st.integers(1, 40),
    threshold=st.sampled_from([0.0, 0.3, 0.9]),
    eos_token_id=st.sampled_from([-1, 11, 20, (11, 20), (20, 73, 30, 11)]),
    temperature=st.sampled_from([0.0, 0.4, 1.0, 1.7]),
    seed=st.integers(0, 2**63 - 1),
    filters=st.sampled_from([{}, {}, {"top_k": 7}, {"top_p": 0.8, "min_p": 0.05}]),
)


def build(values, prompts):
    prompt = prompts[values["prompt"] % len(prompts)]
    if values["mode"] == "quadratic":
        values = {**values, "block_length": min(values["block_length"], GOLDEN_LIMITS.max_quadratic_length)}
    filters = {} if values["mode"] == "diffusion" else values["filters"]
    return Request(
        prompt, **{key: value for key, value in values.items() if key not in ("prompt", "filters")}, **filters
    )


@settings(max_examples=12)
@given(st.lists(REQUESTS, min_size=2, max_size=6), st.integers(2, 6))
def test_a_row_does_not_depend_on_what_shares_its_batch(session, prompts, drawn, rows):
    requests = [build(values, prompts) for values in drawn]
    together = decode(session, requests, max_rows=rows)
    alone = [decode(session, [request])[0] for request in requests]
    assert [without_chunks(result) for result in together] == [without_chunks(result) for result in alone]


@settings(max_examples=40)
@given(REQUESTS, st.sampled_from(NLD_SPECULATIVE))
def test_speculation_equals_ar(session, prompts, values, mode):
    # Rejection sampling has the distribution of ar, and not its tokens.
    speculative = replace(build({**values, "mode": mode}, prompts), acceptance="match")
    ar = build({**values, "mode": "ar"}, prompts)
    fast, slow = decode(session, [speculative])[0], decode(session, [ar])[0]
    assert (fast.output_ids, fast.finish_reason) == (slow.output_ids, slow.finish_reason)


@settings(max_examples=40)
@given(REQUESTS)
def test_every_result_keeps_the_invariants(session, prompts, values):
    request = build(values, prompts)
    result = decode(session, [request])[0]
    emitted, mask = result.output_ids, session.info.config.mask_token_id
    assert 1 <= len(emitted) <= request.max_new_tokens
    assert mask not in emitted
    ends = request.resolved(session.info).eos_token_ids
    assert set(ends).isdisjoint(emitted[:-1])
    assert result.finish_reason == ("stop" if emitted[-1] in ends else "length")
    bonus_tokens = 0 if request.mode == "diffusion" else 1
    assert result.cache_length == len(request.prompt_ids) + len(emitted) - bonus_tokens
    if request.mode in NLD_SPECULATIVE:
        assert sum(result.accepted) + 1 >= len(emitted)
        assert all(1 <= count <= request.block_length for count in result.accepted)
    if request.mode == "diffusion":
        assert all(count <= request.block_length for count in result.denoise_passes)


def test_requests_join_and_leave_while_others_decode(session, prompts):
    requests = [
        Request(prompts[i], mode=NLD_MODES[i % len(NLD_MODES)], max_new_tokens=20 + i, eos_token_id=-1)
        for i in range(6)
    ]
    expected = [decode(session, [request])[0].output_ids for request in requests]
    batch = Batch(session, max_rows=3)
    rows = [batch.submit(requests[0])]
    for request in requests[1:]:
        batch.step()
        batch.step()
        rows.append(batch.submit(request))
    list(batch.run())
    assert [row.emitted for row in rows] == expected


def test_a_cancelled_row_ends_at_once_and_leaves_the_others_alone(session, prompts):
    requests = [Request(prompts[i], mode="ar", max_new_tokens=30, eos_token_id=-1) for i in range(3)]
    expected = decode(session, [requests[2]])[0].output_ids
    batch = Batch(session)
    rows = [batch.submit(request) for request in requests]
    for _ in range(5):
        batch.step()
    batch.cancel(rows[0])
    emissions = [emission for emission in batch.run() if emission.row is rows[0]]
    assert [emission.finish_reason for emission in emissions] == ["cancelled"]
    assert len(rows[0].emitted) < 30
    assert rows[2].emitted == expected


def test_a_long_request_does_not_leave_a_long_cache_behind(engine, prompts):
    session = engine(NAME).open_session("ort")
    longest = Request(prompts[0], mode="ar", max_new_tokens=400, eos_token_id=-1)
    short = Request(prompts[0], mode="ar", max_new_tokens=8, eos_token_id=-1)
    expected = decode(session, [short])[0]
    small = session.capacity
    decode(session, [longest])
    assert session.capacity > 2 * small
    assert decode(session, [short])[0] == expected
    assert session.capacity == small


def test_a_refused_request_is_not_queued(session):
    batch = Batch(session)
    with pytest.raises(InputError):
        batch.submit(Request((1,), max_new_tokens=10**6))
    assert not batch.busy


def test_a_prompt_longer_than_a_chunk_gives_the_same_answer(session, prompts):
    """The prompt is prefilled in chunks of 48 tokens; one forward per token must agree."""
    longest = max(prompts, key=len)
    assert len(longest) > session.info.limits.prompt_chunk
    request = Request(longest, mode="ar", max_new_tokens=5, eos_token_id=-1)
    chunked = decode(session, [request])[0]
    batch = Batch(session)
    row = batch.submit(request)
    original = row.next_pass
    row.next_pass = lambda chunk: original(1)
    list(batch.run())
    assert row.emitted == chunked.output_ids
    assert chunked.forwards["prefill"] == -(-len(longest) // 48)


def test_prompts_of_every_length_do_not_pile_up_in_the_session(golden_session, prompts):
    session = golden_session(NAME)
    batch = Batch(session, max_rows=1)
    longest = max(prompts, key=len)
    assert len(longest) > 80
    for length in range(1, 81):
        for _ in generate(batch, [Request(longest[:length], mode="ar", max_new_tokens=1, eos_token_id=-1)]):
            pass
    assert len(session._bound) <= 64

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Mode auto: whatever is chosen, and whenever it changes, the text is that of ar."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nld_trt import names
from nld_trt.decode.auto.candidate import Candidate
from nld_trt.decode.auto.controller import Decision
from nld_trt.decode.auto.costs import CostPoint, CostTable, Origin
from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request
from nld_trt.errors import InputError
from tests.golden_cases import golden_prompts

NAME = "tiny-b"
CHOICES = [Candidate("ar"), *(Candidate("linear", length) for length in (4, 8, 16, 32))]


@pytest.fixture(scope="module")
def prompts(goldens):
    return golden_prompts(goldens, NAME)


@pytest.fixture(scope="module")
def session(golden_session):
    return golden_session(NAME)


def table(per_forward, per_token):
    """Costs of a device whose forwards take so long."""
    points = [
        CostPoint(rows, width, per_forward + per_token * rows * width)
        for rows in (1, 2, 4, 8)
        for width in (1, 4, 8, 16, 32)
    ]
    return CostTable(tuple(points), Origin(engine="test", device="test"))


class Whims:
    """In the place of a controller: another decision whenever it is asked, from a list of candidates."""

    def __init__(self, controller, choices, seed):
        self._controller = controller
        self._choices = choices
        self._random = random.Random(seed)

    def join(self, **options):
        return self._controller.join(**options)

    def decide(self, rows):
        chosen = self._random.choice(self._choices)
        return Decision(chosen.mode, chosen.block_length, "rate", f"{chosen} by lot")


def batch_of(session, *, choices=None, seed=0, **options):
    batch = Batch(session, costs=table(1e-3, 1e-6), **options)
    if choices is not None:
        batch.steering.controller = Whims(batch.steering.controller, choices, seed)
    return batch


def answers(batch, requests):
    found = dict(generate(batch, requests))
    return [found[index] for index in range(len(requests))]


REQUESTS = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(1, 60), st.sampled_from([0.0, 0.7, 1.3]), st.integers(0, 99)),
    min_size=1, max_size=5,
)  # fmt: skip


@settings(max_examples=25)
@given(REQUESTS, st.integers(0, 10**6), st.integers(1, 4))
def test_the_text_is_that_of_ar_whatever_is_chosen(session, prompts, drawn, seed, rows):
    """Greedily, and at a temperature with the same seed: auto verifies by the rule match."""
    requests = [
        Request(
            prompts[prompt % len(prompts)], "auto", max_new_tokens=tokens, temperature=temperature, seed=key,
            eos_token_id=(11, 20),
        )
        for prompt, tokens, temperature, key in drawn
    ]  # fmt: skip
    chosen = answers(batch_of(session, choices=CHOICES, seed=seed, max_rows=rows), requests)
    plain = [answers(Batch(session), [replace(request, mode="ar")])[0] for request in requests]
    assert [(each.output_ids, each.finish_reason) for each in chosen] == [
        (each.output_ids, each.finish_reason) for each in plain
    ]
    for result in chosen:
        assert sum(result.mode_tokens.values()) == len(result.output_ids)
        assert result.cache_length == len(result.output_ids) - 1 + result.prompt_tokens


@settings(max_examples=15)
@given(REQUESTS, st.integers(0, 10**6))
def test_rounds_of_diffusion_lose_and_repeat_no_token(session, prompts, drawn, seed):
    choices = [*CHOICES, Candidate("diffusion", 8), Candidate("diffusion", 32)]
    requests = [
        Request(prompts[prompt % len(prompts)], "auto", max_new_tokens=tokens, eos_token_id=-1, allow_diffusion=True)
        for prompt, tokens, _, _ in drawn
    ]
    batch = batch_of(session, choices=choices, seed=seed)
    for result, request in zip(answers(batch, requests), requests, strict=True):
        assert len(result.output_ids) == request.max_new_tokens
        assert sum(result.mode_tokens.values()) == request.max_new_tokens
        assert session.info.config.mask_token_id not in result.output_ids


def test_a_switch_to_diffusion_continues_the_text(session, prompts):
    """With a threshold that commits one token a pass, diffusion from some place on is diffusion of what was there."""
    batch = batch_of(session, choices=[Candidate("ar")])
    row = batch.submit(Request(prompts[0], "auto", max_new_tokens=40, eos_token_id=-1, allow_diffusion=True))
    while len(row.emitted) < 9:
        batch.step()
    before = list(row.emitted)
    batch.steering.controller = Whims(batch.steering.controller, [Candidate("diffusion", 8)], 0)
    list(batch.run())
    # The last token before the switch begins the first block.
    prompt = (*prompts[0], *before)
    plain = answers(
        Batch(session), [Request(prompt[:-1], "diffusion", max_new_tokens=41, block_length=8, eos_token_id=-1)]
    )[0]
    assert row.emitted[:9] == before
    assert plain.output_ids[0] == before[-1]
    assert row.emitted[len(before) - 1 :][:32] == plain.output_ids[:32]


def test_the_answer_tells_what_was_chosen_and_why(session, prompts):
    batch = batch_of(session)
    result = answers(batch, [Request(prompts[0], "auto", max_new_tokens=40, eos_token_id=-1)])[0]
    assert result.mode == "auto"
    assert set(result.mode_tokens) <= {"ar", "linear"}
    assert "linear" in result.mode_tokens, "a forward that costs the same for 32 tokens as for one"
    assert result.last_switch.startswith("first: 1 row, linear")
    assert result.nfe == 1 + sum(count for kind, count in result.forwards.items() if kind != "prefill")


def test_many_rows_decode_token_by_token_where_tokens_cost(session, prompts):
    batch = Batch(session, costs=table(1e-6, 1e-3))
    results = answers(
        batch, [Request(prompts[index], "auto", max_new_tokens=40, eos_token_id=-1) for index in range(8)]
    )
    assert all(result.mode_tokens["ar"] > 30 for result in results)


def test_decisions_wait_for_no_device(session, prompts, monkeypatch):
    """A session that runs ahead stops where something else was decided, and goes on from there."""
    monkeypatch.setattr(session, "runs_ahead", True, raising=False)
    requests = [Request(prompt, "auto", max_new_tokens=50, eos_token_id=-1) for prompt in prompts[:3]]
    chosen = answers(batch_of(session, choices=CHOICES), requests)
    plain = answers(Batch(session), [replace(request, mode="ar") for request in requests])
    assert [each.output_ids for each in chosen] == [each.output_ids for each in plain]


def test_a_row_without_room_for_a_longer_block_keeps_its_own(session, prompts):
    batch = batch_of(session, choices=[Candidate("linear", 32)])
    row = batch.submit(Request(prompts[0], "auto", block_length=8, max_new_tokens=30, eos_token_id=-1))
    list(batch.run())
    assert max(row.counters.accepted) <= 8
    assert row.widest == 8


def test_a_thinking_budget_decodes_token_by_token(session, prompts):
    batch = batch_of(session)
    request = Request(prompts[0], "auto", max_new_tokens=20, max_thinking_tokens=5, end_think_token_id=7)
    assert answers(batch, [request])[0].mode == "ar"


def test_auto_needs_costs(session, prompts):
    with pytest.raises(InputError, match="mode is 'auto', which follows the load"):
        Batch(session).submit(Request(prompts[0], "auto"))


def test_diffusion_is_allowed_to_auto_only(session, prompts):
    with pytest.raises(InputError, match="allow_diffusion is true, and mode is 'linear'"):
        batch_of(session).submit(Request(prompts[0], "linear", allow_diffusion=True))
    assert names.AUTO not in names.MODES


def test_what_was_decided_before_is_told_with_its_cause(session, prompts):
    batch = batch_of(session, choices=CHOICES)
    answers(batch, [Request(prompts[0], "auto", max_new_tokens=40, eos_token_id=-1)])
    switches = batch.steering.take_switches()
    assert switches
    assert all(switch.before != switch.after for switch in switches)
    assert batch.steering.take_switches() == []

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""How modes open a request, and how a thinking budget changes a pass that the engine has prepared."""

from __future__ import annotations

import pytest

from nld_trt.decode.batch import Batch
from nld_trt.decode.fill import Pass
from nld_trt.decode.generate import generate
from nld_trt.decode.modes import MODE_TYPES, ThinkingBudget
from nld_trt.decode.request import Request
from nld_trt.names import NLD_MODES

MASK, BONUS, MARKER = 100, 7, 13


@pytest.fixture(scope="module")
def info(golden_session):
    return golden_session("tiny-a").info


def opening(info, mode, **settings):
    return MODE_TYPES[mode](Request((1, 2), mode, **settings).resolved(info), MASK).opening(BONUS)


@pytest.mark.parametrize("mode", NLD_MODES)
def test_the_first_pass_starts_with_the_bonus_token(info, mode):
    part = opening(info, mode, block_length=4)
    assert part.tokens[0] == BONUS
    assert set(part.tokens[1:]) <= {MASK}
    assert part.causal == (mode == "ar")


@pytest.mark.parametrize("mode", NLD_MODES)
def test_a_block_of_one_token_is_causal_at_once(info, mode):
    assert opening(info, mode, block_length=1).causal


def test_a_quadratic_request_opens_with_a_draft_unless_one_token_is_all_it_drafts(info):
    """The engine cannot go on from that draft, because the next pass is wider."""
    assert opening(info, "quadratic", block_length=3).settings.program == "hold"
    whole = opening(info, "quadratic", block_length=1)
    assert (list(whole.tokens), whole.settings.program) == ([BONUS, MASK], "quadratic")


@pytest.mark.parametrize(
    ("generated", "block", "expected", "causal"),
    [
        (0, [BONUS, MASK, MASK], [BONUS, MASK, MASK], False),
        (1, [BONUS, MASK, MASK], [BONUS, MASK, MARKER], False),
        (3, [BONUS, MASK, MASK], [MARKER, MASK, MASK], False),
        (9, [BONUS, MASK, MASK], [MARKER, MASK, MASK], False),
        (2, [BONUS, MASK], [BONUS, MARKER], True),
        (3, [BONUS], [MARKER], True),
        (2, [BONUS], [BONUS], True),
    ],
)
def test_the_marker_is_written_where_the_budget_ends(generated, block, expected, causal):
    """A block that has no mask left needs no denoise pass."""
    following = Pass(block, causal=MASK not in block)
    forced = ThinkingBudget(3, MARKER).forced(following, [1] * generated, MASK)
    assert (list(forced.tokens), forced.causal) == (expected, causal)
    assert (forced is following) == (expected == block)


def test_no_second_marker_is_written():
    following = Pass([BONUS, MASK])
    assert ThinkingBudget(0, MARKER).forced(following, [1, MARKER, 2], MASK) is following


def test_a_block_that_the_budget_fills_is_committed_without_a_denoise_pass(golden_session):
    request = Request(
        (1, 73, 20), "diffusion", block_length=2, max_new_tokens=6, eos_token_id=-1, max_thinking_tokens=3,
        end_think_token_id=MARKER,
    )  # fmt: skip
    ((_, result),) = generate(Batch(golden_session("tiny-a")), [request])
    assert result.output_ids[3] == MARKER
    assert result.denoise_passes == [1, 0, 1]


@pytest.mark.parametrize("mode", ["ar", "diffusion"])
def test_a_marker_in_the_place_of_an_eos_lets_the_answer_go_on(golden_session, mode):
    """The engine's own choice there would have ended it."""
    batch = Batch(golden_session("tiny-a"))
    plain = Request((1, 73, 20), mode, block_length=1, max_new_tokens=8, eos_token_id=-1)
    ((_, expected),) = generate(batch, [plain])
    budget = {"max_thinking_tokens": 2, "end_think_token_id": MARKER, "eos_token_id": expected.output_ids[2]}
    assert expected.output_ids[2] not in expected.output_ids[:2]
    forced = Request((1, 73, 20), mode, block_length=1, max_new_tokens=8, **budget)
    ((_, result),) = generate(batch, [forced])
    assert result.output_ids[:3] == [*expected.output_ids[:2], MARKER]
    assert len(result.output_ids) > 3

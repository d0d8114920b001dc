# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Turns: time in proportion to rows, chunks between forwards, and rows together where that is cheaper."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nld_trt.decode.forward_times import ForwardTimes
from nld_trt.decode.places import Zone
from nld_trt.decode.turns import DECODING, PROMPTS, Turns, widest_run

WIDTH = 16


def run(counts, fixed, per_token, forwards=2000, known=False):
    """The seconds that each turn has had, and how often, on a device with this cost of a forward.

    ``known``: the cost of tokens is known beforehand.
    """
    turns, had, often = Turns(512), Counter(), Counter()
    if known:
        turns.token_seconds = lambda rows: fixed + per_token * rows
    order = []
    for _ in range(forwards):
        turn = turns.next(counts, WIDTH)
        if turn == PROMPTS:
            tokens = turns.chunk(counts, 0)
        else:
            tokens = sum(counts[zone] for zone in turn) * (WIDTH if Zone.BLOCK in turn else 1)
        seconds = fixed + per_token * tokens
        turns.ran(turn, counts, tokens, seconds)
        had[turn] += seconds
        often[turn] += 1
        order.append((turn, tokens))
    return had, often, order


@given(st.integers(1, 16), st.integers(1, 16))
def test_rows_that_decode_have_time_in_proportion_to_their_number(tokens, blocks):
    had, _, _ = run({Zone.TOKEN: tokens, Zone.BLOCK: blocks}, fixed=0.0, per_token=1.0)
    shares = had[Zone.TOKEN,] / tokens, had[Zone.BLOCK,] / blocks
    assert shares[0] == pytest.approx(shares[1], rel=0.2)


def test_rows_share_a_forward_where_its_fixed_cost_is_larger():
    _, often, _ = run({Zone.TOKEN: 4, Zone.BLOCK: 4}, fixed=1.0, per_token=1e-4)
    assert often[DECODING] > 0.9 * often.total()


@pytest.mark.parametrize(("tokens", "blocks"), [(4, 4), (1, 7), (7, 1), (2, 30)])
@pytest.mark.parametrize("per_token", [0.0155, 0.05, 0.5])
def test_tokens_keep_three_quarters_of_their_speed_where_forwards_cost_alike(tokens, blocks, per_token):
    """With a fixed cost of 5 ms the first are forwards of the 8B on an H200."""
    fixed = 5.0
    had, often, _ = run({Zone.TOKEN: tokens, Zone.BLOCK: blocks}, fixed, per_token, known=True)
    passed = sum(had.values())
    made = often[Zone.TOKEN,] + often[DECODING]
    alike = fixed + per_token * (tokens + blocks)
    assert made / passed >= 0.73 / alike
    rounds = often[Zone.BLOCK,] + often[DECODING]
    assert rounds / passed >= 0.1 / (fixed + per_token * blocks * WIDTH), "those who decode blocks go on"


def test_between_two_chunks_somebody_decodes():
    _, _, order = run({Zone.TOKEN: 3, Zone.BLOCK: 2, Zone.PROMPT: 1}, fixed=1.0, per_token=0.1, forwards=100)
    assert all((first == PROMPTS) != (second == PROMPTS) for (first, _), (second, _) in itertools.pairwise(order))


def test_a_chunk_takes_no_longer_than_those_who_wait_for_it():
    counts = {Zone.TOKEN: 8, Zone.PROMPT: 1}
    _, _, order = run(counts, fixed=1.0, per_token=0.01)
    chunks = {tokens for turn, tokens in order[100:] if turn == PROMPTS}
    assert chunks == {16}
    _, _, order = run({Zone.TOKEN: 300, Zone.PROMPT: 1}, fixed=1.0, per_token=0.01)
    assert {tokens for turn, tokens in order[100:] if turn == PROMPTS} == {256}


def test_many_prompts_do_not_wait_for_a_few_who_decode():
    counts = {Zone.TOKEN: 2, Zone.PROMPT: 200}
    _, _, order = run(counts, fixed=1.0, per_token=0.01)
    chunks = {tokens for turn, tokens in order[100:] if turn == PROMPTS}
    assert min(chunks) > 2000


def test_short_prompts_are_read_beside_blocks_where_that_is_cheaper():
    turns, counts = Turns(512), {Zone.BLOCK: 4, Zone.PROMPT: 1}
    for _ in range(3):
        for turn, tokens in (((Zone.BLOCK,), 4 * WIDTH), (PROMPTS, 12)):
            turns.ran(turn, counts, tokens, 1.0 + 0.001 * tokens)
        turns.ran((Zone.BLOCK,), counts, 5 * WIDTH, 1.0 + 0.005 * WIDTH)
    assert turns.next(counts, WIDTH, rest=12) == (Zone.BLOCK, Zone.PROMPT)
    assert turns.next(counts, WIDTH, rest=600) == PROMPTS


def test_prompts_alone_are_read_in_whole_chunks():
    assert Turns(512).chunk({Zone.PROMPT: 3}, 0) == 3 * 512


def test_a_stated_budget_counts_the_decoded_tokens():
    turns = Turns(512, max_num_batched_tokens=100)
    assert turns.chunk({Zone.TOKEN: 8, Zone.PROMPT: 1}, decoded=8) == 92
    assert turns.chunk({Zone.TOKEN: 8, Zone.PROMPT: 1}, decoded=300) == 1


def test_a_row_that_was_away_has_saved_nothing_up():
    turns = Turns(512)
    for _ in range(100):
        turns.ran((Zone.TOKEN,), {Zone.TOKEN: 1}, 1, 1.0)
    both = {Zone.TOKEN: 1, Zone.BLOCK: 1}
    first = []
    for _ in range(20):
        turn = turns.next(both, 1)
        turns.ran(turn, both, 1, 1.0)
        first.append(turn)
    assert first.count((Zone.BLOCK,)) <= 11


@given(st.floats(0.001, 10), st.floats(0.0001, 1), st.lists(st.integers(1, 512), min_size=2, max_size=30))
def test_times_are_learnt(fixed, per_token, sizes):
    times = ForwardTimes()
    for tokens in sizes:
        times.add(tokens, fixed + per_token * tokens)
    if max(sizes) > 1.5 * min(sizes):
        assert times.seconds(100) == pytest.approx(fixed + 100 * per_token, rel=0.05)
    assert times.seconds(1) <= times.seconds(512)


@given(st.lists(st.integers(1, 512), min_size=1, max_size=20), st.data(), st.integers(1, 2000))
def test_a_run_has_its_lead_and_little_padding(widths, data, most):
    lead = data.draw(st.integers(0, len(widths) - 1))
    found = widest_run(widths, lead, most)
    assert lead in found
    padded = len(found) * max(widths[found.start : found.stop])
    assert len(found) == 1 or (padded <= most and padded <= 2 * sum(widths[found.start : found.stop]))

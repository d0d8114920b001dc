# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""One running histogram predicts every block length, also from rounds that were cut short by their block."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nld_trt.decode.auto.acceptance import Acceptance, Prior
from nld_trt.decode.auto.denoising import Denoising, DenoisingPrior
from nld_trt.decode.auto.shapes import PUBLISHED, Shape, of_mean

BLOCKS = (4, 8, 16, 32)
ROUNDS = st.lists(st.sampled_from(BLOCKS).flatmap(lambda b: st.tuples(st.integers(1, b), st.just(b))), max_size=60)


def drawn(shape: Shape, random_: random.Random, block_length: int) -> int:
    length = 1
    while length < block_length and random_.random() >= shape.hazard(length):
        length += 1
    return length


def seen(shape: Shape, block_length: int, rounds: int, *, prior: Prior, seed: int = 0) -> Acceptance:
    acceptance, random_ = Acceptance(prior), random.Random(seed)
    for _ in range(rounds):
        acceptance.observe(drawn(shape, random_, block_length), block_length)
    return acceptance


@settings(max_examples=30)
@given(ROUNDS)
def test_longer_blocks_make_more_tokens_and_less_per_position(rounds):
    acceptance = Acceptance(Prior(PUBLISHED["qa"], 32))
    for accepted, block_length in rounds:
        acceptance.observe(accepted, block_length)
    tokens = [acceptance.expected(length) for length in range(1, 33)]
    steps = [after - before for before, after in pairwise(tokens)]
    assert tokens[0] == 1.0
    assert all(0 <= step <= 1 for step in steps)
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(steps))


@settings(max_examples=30)
@given(ROUNDS)
def test_the_same_rounds_give_the_same_histogram(rounds):
    first, second = (Acceptance(Prior(PUBLISHED["qa"], 32)) for _ in range(2))
    for accepted, block_length in rounds:
        first.observe(accepted, block_length)
        second.observe(accepted, block_length)
    assert [first.expected(b) for b in BLOCKS] == [second.expected(b) for b in BLOCKS]


def test_without_rounds_the_shape_is_expected():
    prior = Prior(PUBLISHED["speed-bench"], 32)
    assert Acceptance(prior).expected(32) == prior.expected(32) == pytest.approx(6.82)


def test_a_histogram_at_the_longest_block_is_the_mean_of_what_was_cut():
    """E[min(A, B)] of many rounds at 32 is their mean at every B."""
    prior, random_ = Prior(PUBLISHED["qa"], 32), random.Random(1)
    acceptance = Acceptance(prior)
    lengths = [drawn(PUBLISHED["coding"], random_, 32) for _ in range(20_000)]
    for length in lengths:
        acceptance.observe(length, 32)
    for block_length in BLOCKS:
        mean = sum(min(length, block_length) for length in lengths[-4096:]) / 4096
        assert prior.expected(block_length) == pytest.approx(mean, rel=0.04)


@pytest.mark.parametrize("block_length", [8, 16])
def test_censored_rounds_do_not_make_acceptance_look_shorter(block_length):
    """All rounds at a short block are cut there; what they say of the positions before it is right, and positions after
    it are as expected."""
    shape = PUBLISHED["speed-bench"]
    acceptance = seen(shape, block_length, 4000, prior=Prior(shape, 32))
    for length in BLOCKS:
        assert acceptance.expected(length) == pytest.approx(shape.expected(length), rel=0.12)


def test_rounds_that_are_all_accepted_say_nothing_of_longer_blocks_but_that_they_are_longer():
    prior = Prior(PUBLISHED["qa"], 32)
    acceptance = Acceptance(prior)
    for _ in range(500):
        acceptance.observe(8, 8)
    assert acceptance.expected(8) == pytest.approx(8, abs=0.1)
    assert acceptance.expected(32) > 20


def test_better_rounds_at_a_short_block_are_expected_to_go_on():
    """So that a longer block is taken up where it pays, without a round for the sake of knowing."""
    better, prior = of_mean(13.0), Prior(PUBLISHED["speed-bench"], 32)
    before = prior.expected(32)
    acceptance = seen(better, 8, 300, prior=prior)
    assert acceptance.expected(32) > before + 3


def test_a_request_forgets_what_it_was_like():
    prior = Prior(PUBLISHED["speed-bench"], 32)
    acceptance = seen(of_mean(1.5), 32, 300, prior=prior)
    low = acceptance.expected(32)
    random_ = random.Random(3)
    for _ in range(200):
        acceptance.observe(drawn(of_mean(14.0), random_, 32), 32)
    assert low < 2.2
    assert acceptance.expected(32) > 9


def test_requests_teach_the_server_at_once():
    prior = Prior(PUBLISHED["speed-bench"], 32)
    for seed in range(64):
        seen(of_mean(12.0), 32, 4, prior=prior, seed=seed)
    assert Acceptance(prior).expected(32) > 10


def test_a_request_differs_from_its_server():
    prior = Prior(PUBLISHED["speed-bench"], 32)
    for seed in range(30):
        seen(of_mean(3.0), 32, 40, prior=prior, seed=seed)
    other = seen(of_mean(14.0), 32, 100, prior=prior)
    assert prior.expected(32) < 5
    assert other.expected(32) > 8


def test_denoising_starts_from_the_server_and_learns():
    prior = DenoisingPrior(1.5)
    first = Denoising(prior)
    assert first.tokens_per_forward == 1.5
    for _ in range(100):
        first.observe(32, 8)
    assert first.tokens_per_forward == pytest.approx(4.0, abs=0.3)
    assert Denoising(prior).tokens_per_forward == pytest.approx(4.0, abs=0.3)

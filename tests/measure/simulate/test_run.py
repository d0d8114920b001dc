# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A simulated server does what a table and a shape say, on a load."""

from __future__ import annotations

import pytest

from nld_trt import names
from nld_trt.decode.auto.candidate import AUTOREGRESSIVE, Candidate, candidates
from nld_trt.decode.auto.controller import Controller
from nld_trt.decode.auto.costs import Origin, grid
from nld_trt.decode.auto.shapes import PUBLISHED, Shape
from nld_trt.measure.simulate.run import Adaptive, Fixed, simulate
from nld_trt.measure.simulate.trace import Arrival, Phase, Recorded, Users

COSTS = grid((1, 2, 8), (1, 4, 16), lambda rows, width: 1.0 * rows + 0.5 * width, Origin("e", "d"))
SHAPE = PUBLISHED["speed-bench"]
LINEAR = Candidate(names.LINEAR, 16)


def test_ar_takes_one_forward_for_each_token():
    done = simulate(Recorded([Arrival(3.0, 0, 10)]), COSTS, SHAPE, Fixed(AUTOREGRESSIVE), max_rows=4)
    assert (done.tokens, len(done.rounds), done.seconds) == (10, 10, pytest.approx(10 * 1.5))
    assert done.rounds[0].end == pytest.approx(4.5)
    assert done.latencies == [pytest.approx(15.0)]


def test_a_round_of_drafts_takes_two_forwards_and_makes_what_was_accepted():
    always = Shape((0.0,))
    done = simulate(Recorded([Arrival(0.0, 0, 20)]), COSTS, always, Fixed(LINEAR), max_rows=4)
    assert [(each.tokens, each.seconds) for each in done.rounds] == [(16, 18.0), (4, 18.0)]
    never = simulate(Recorded([Arrival(0.0, 0, 20)]), COSTS, Shape((1.0,)), Fixed(LINEAR), max_rows=4)
    assert [each.tokens for each in never.rounds] == [1] * 20


def test_drawn_acceptance_has_the_mean_of_its_shape():
    done = simulate(Users([Phase(8, 20_000.0)], 200), COSTS, SHAPE, Fixed(LINEAR), max_rows=8)
    whole = [each for each in done.rounds if each.tokens]
    rate = sum(each.tokens for each in whole) / sum(each.rows for each in whole)
    # The last round of a request is cut at its end.
    assert rate == pytest.approx(SHAPE.expected(16), rel=0.06)


def test_requests_wait_for_a_row_and_share_forwards():
    done = simulate(Recorded([Arrival(0.0, 0, 2)] * 3), COSTS, SHAPE, Fixed(AUTOREGRESSIVE), max_rows=2)
    assert [each.rows for each in done.rounds] == [2, 2, 1, 1]
    assert done.latencies == [pytest.approx(5.0), pytest.approx(5.0), pytest.approx(8.0)]


def test_prompts_are_read_in_chunks():
    done = simulate(Recorded([Arrival(0.0, 20, 1)]), COSTS, SHAPE, Fixed(AUTOREGRESSIVE), max_rows=1, prompt_chunk=16)
    assert done.prefill_seconds == pytest.approx(COSTS.seconds(1, 16) + COSTS.seconds(1, 4))
    assert done.latencies == [pytest.approx(done.prefill_seconds + 1.5)]


def test_seconds_without_requests_do_not_count():
    load = Recorded([Arrival(0.0, 0, 1), Arrival(100.0, 0, 1)])
    done = simulate(load, COSTS, SHAPE, Fixed(AUTOREGRESSIVE), max_rows=1)
    assert done.seconds == pytest.approx(3.0)
    assert done.rate == pytest.approx(2 / 3.0)


def test_every_policy_meets_the_same_acceptance():
    """A controller that keeps one candidate does exactly what that candidate does."""
    widths = (1, 16)
    costs = grid((1, 8), widths, lambda rows, width: 1.0, Origin("e", "d"))
    adaptive = Adaptive(Controller(candidates(widths), costs))
    load = [Phase(3, 500.0)]
    found = simulate(Users(load), costs, SHAPE, adaptive, max_rows=8, seed=5)
    assert found.rounds == simulate(Users(load), costs, SHAPE, Fixed(LINEAR), max_rows=8, seed=5).rounds
    assert found.rounds != simulate(Users(load), costs, SHAPE, Fixed(LINEAR), max_rows=8, seed=6).rounds
    assert found.tokens_by_candidate == {LINEAR: found.tokens}

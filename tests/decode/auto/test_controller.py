# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The controller takes the best candidate, changes its mind for good reasons only, and pays little to know."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nld_trt import names
from nld_trt.decode.auto.candidate import AUTOREGRESSIVE, Candidate, candidates
from nld_trt.decode.auto.controller import FIRST, NOT_ALLOWED, PROBE, RATE, Controller, Hysteresis
from nld_trt.decode.auto.costs import Origin, grid
from nld_trt.decode.auto.live import LiveCosts
from nld_trt.decode.auto.shapes import PUBLISHED

WIDTHS = (1, 8, 16, 32)
# One forward of many tokens costs by its tokens above a floor: drafts pay for few rows, one token for many.
COSTS = grid((1, 128), WIDTHS, lambda rows, width: 5e-3 * (1 + rows * width / 256), Origin("e", "d"))
EIGHT = Candidate(names.LINEAR, 8)
LONGEST = Candidate(names.LINEAR, 32)


class Times:
    """Seconds by width, whatever the rows."""

    def __init__(self, seconds):
        self._seconds = seconds

    def seconds(self, rows: int, width: int) -> float:
        return self._seconds[width]


def controller(costs=COSTS, *, diffusion_block: int | None = None, **settings) -> Controller:
    return Controller(candidates(WIDTHS, diffusion_block=diffusion_block), costs, **settings)


def test_candidates_are_the_block_lengths_that_have_costs():
    assert [str(each) for each in candidates((1, 4, 8, 24))] == ["ar", "linear 4", "linear 8"]
    assert [str(each) for each in candidates((1, 32), diffusion_block=32)] == ["ar", "linear 32", "diffusion 32"]


@given(st.integers(1, 128), st.sampled_from(names.WORKLOADS))
def test_the_first_decision_is_the_best_by_brute_force(rows, workload):
    found = controller(shape=PUBLISHED[workload])
    expected = {
        candidate: (
            rows * (PUBLISHED[workload].expected(candidate.block_length))
            / ((2 if candidate.block_length > 1 else 1) * COSTS.seconds(rows, candidate.block_length))
        )
        for candidate in found.candidates
    }  # fmt: skip
    decision = found.decide([found.join()] * rows)
    assert expected[decision.candidate] == pytest.approx(max(expected.values()))
    assert decision.cause == FIRST
    assert decision.reason.startswith(f"first: {rows} row{'s' * (rows > 1)}, {decision.candidate} at ")


def test_few_rows_draft_and_many_do_not():
    found = controller()
    assert found.decide([found.join()]).candidate == LONGEST
    assert controller().decide([found.join()] * 128).candidate == AUTOREGRESSIVE


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(1, 128), st.integers(1, 32)), min_size=1, max_size=60))
def test_the_same_rows_and_rounds_lead_to_the_same_decisions(rounds):
    def decisions():
        found = controller(diffusion_block=32)
        taken = []
        for rows, accepted in rounds:
            live = [found.join() for _ in range(rows)]
            taken.append(found.decide(live))
            if taken[-1].mode == names.LINEAR:
                live[0].verified(min(accepted, taken[-1].block_length), taken[-1].block_length)
        return taken, found.switches, found.probes

    assert decisions() == decisions()


def test_a_load_that_changes_much_is_followed_in_a_few_rounds():
    found = controller()
    one, many = [found.join()], [found.join() for _ in range(128)]
    assert found.decide(one).candidate == LONGEST
    taken = [found.decide(many) for _ in range(6)]
    assert taken[-1].candidate == AUTOREGRESSIVE
    assert taken[-1].cause == RATE
    assert "128 rows, ar at" in taken[-1].reason
    assert ", linear 32 " in taken[-1].reason
    assert found.switches == {AUTOREGRESSIVE: 1}
    taken = [found.decide(one) for _ in range(6)]
    assert taken[-1].candidate == LONGEST
    assert found.switches.total() == 2


def test_a_decision_is_kept_for_the_dwell():
    found = controller(hysteresis=Hysteresis(patience=0.0, dwell=10))
    found.decide([found.join()])
    many = [found.join() for _ in range(128)]
    assert [found.decide(many).candidate for _ in range(9)] == [LONGEST] * 9
    assert found.decide(many).candidate == AUTOREGRESSIVE


def test_a_small_gain_takes_longer_than_a_large_one_and_a_tiny_one_never_comes():
    """A round loses 1 - 1 / gain; the decision changes when that adds up to a round."""

    def rounds_until_switch(gain: float) -> int | None:
        times = dict.fromkeys(WIDTHS, 1e-3)
        found = controller(Times(times), hysteresis=Hysteresis(margin=0.01, dwell=1))
        row = found.join()
        kept = found.decide([row]).candidate
        rates = found.rates([row])
        times[EIGHT.block_length] *= rates[EIGHT] / rates[kept] / gain
        for count in range(1, 1000):
            if found.decide([row]).candidate != kept:
                return count
        return None

    assert rounds_until_switch(2.01) == 2
    assert rounds_until_switch(1.26) == 5
    assert rounds_until_switch(1.051) == 21
    assert rounds_until_switch(1.005) is None


@pytest.mark.parametrize("seed", range(5))
def test_noise_around_equal_rates_does_not_flap(seed):
    """Times of two candidates are equal but for 5 % of noise, as of a busy machine."""
    random_ = random.Random(seed)
    found = controller(hysteresis=Hysteresis())
    rows = [found.join() for _ in range(8)]
    even = {width: PUBLISHED["speed-bench"].expected(width) for width in WIDTHS[1:]} | {1: 1.0}

    class Noisy:
        def seconds(self, rows: int, width: int) -> float:
            return 1e-3 * even[width] * (2 if width == 1 else 1) * random_.gauss(1.0, 0.05)

    found.costs = Noisy()
    for _ in range(500):
        found.decide(rows)
    without = controller(Noisy(), hysteresis=Hysteresis(margin=0.0, patience=0.0, dwell=1))
    for _ in range(500):
        without.decide(rows)
    assert found.switches.total() <= 500 / 15
    assert without.switches.total() > 8 * found.switches.total()


def test_noise_below_the_margin_changes_nothing():
    random_ = random.Random(0)
    found = controller()
    rows = [found.join() for _ in range(8)]
    even = {width: PUBLISHED["speed-bench"].expected(width) for width in WIDTHS[1:]} | {1: 1.0}

    class Noisy:
        def seconds(self, rows: int, width: int) -> float:
            return 1e-3 * even[width] * (2 if width == 1 else 1) * (1 + 0.004 * random_.random())

    found.costs = Noisy()
    for _ in range(2000):
        found.decide(rows)
    assert found.switches.total() == 0


def test_diffusion_needs_every_row_to_allow_it_and_ends_when_one_does_not():
    cheap = grid((1,), WIDTHS, lambda rows, width: 1e-3, Origin("e", "d"))
    found = controller(cheap, diffusion_block=32)
    willing, other = found.join(allow_diffusion=True), found.join()
    for _ in range(300):
        willing.denoised(32, 4)
    assert found.decide([willing]).mode == names.DIFFUSION
    both = found.decide([willing, other])
    assert both.mode == names.LINEAR
    assert both.cause == NOT_ALLOWED
    assert found.switches.total() == 1
    assert controller(cheap, diffusion_block=32).decide([other]).mode == names.LINEAR


def test_diffusion_is_expected_to_make_what_was_published_of_what_linear_makes():
    found = controller(diffusion_block=32)
    rates = found.rates([found.join(allow_diffusion=True)])
    diffusion, linear = rates[Candidate(names.DIFFUSION, 32)], rates[LONGEST]
    assert diffusion / linear == pytest.approx(2.6 / 5.99)


def test_in_ar_a_round_of_drafts_comes_now_and_then_and_costs_what_was_allowed():
    found = controller(hysteresis=Hysteresis(probe_share=0.01))
    rows = [found.join() for _ in range(128)]
    seconds = lost = 0.0
    kinds = []
    rates = found.rates(rows)
    for _ in range(4000):
        decision = found.decide(rows)
        kinds.append(decision.cause)
        took = decision.candidate.forwards * COSTS.seconds(128, decision.block_length)
        seconds += took
        if decision.cause == PROBE:
            lost += took * (1 - rates[decision.candidate] / rates[AUTOREGRESSIVE])
            assert decision.mode == names.LINEAR
            assert decision.reason == "probe: one round of drafts in ar, at 128 rows"
    assert found.probes == kinds.count(PROBE) > 2
    assert 0.005 < lost / seconds <= 0.0101
    assert found.decision.candidate == AUTOREGRESSIVE
    assert found.switches.total() == 0


def test_a_probe_is_one_round():
    found = controller(hysteresis=Hysteresis(probe_share=1.0, probe_every=3))
    rows = [found.join() for _ in range(128)]
    taken = [found.decide(rows).mode for _ in range(9)]
    assert taken == [names.AR] * 3 + [names.LINEAR] + [names.AR] * 2 + [names.LINEAR] + [names.AR] * 2


def test_probes_find_that_drafts_became_better():
    """Content changes while rows decode in ar; nothing but probes can tell."""
    found = controller(shape=PUBLISHED["qa"])
    rows = [found.join() for _ in range(64)]
    assert found.decide(rows).candidate == AUTOREGRESSIVE
    for _ in range(1000):
        decision = found.decide(rows)
        if decision.mode == names.LINEAR:
            for row in rows:
                row.verified(decision.block_length, decision.block_length)
    assert found.decision.mode == names.LINEAR


def test_no_drafts_are_probed_while_drafts_are_decoded():
    found = controller()
    row = found.join()
    for _ in range(500):
        decision = found.decide([row])
        row.verified(min(7, decision.block_length), decision.block_length)
    assert found.probes == 0
    assert found.decision.mode == names.LINEAR


def test_an_engine_whose_blocks_are_too_short_stays_in_ar():
    found = Controller(candidates((1,)), COSTS)
    rows = [found.join()]
    assert {found.decide(rows).candidate for _ in range(500)} == {AUTOREGRESSIVE}


def test_rows_are_counted_as_a_forward_has_them():
    """On a GPU a forward of 5 rows has 6."""
    counted = []

    class Counted:
        def seconds(self, rows: int, width: int) -> float:
            counted.append(rows)
            return 1.0

    found = Controller(candidates(WIDTHS), Counted(), row_count=lambda rows: rows + 1)
    found.decide([found.join()] * 5)
    assert set(counted) == {6}


def test_the_controller_of_a_session_has_what_its_table_and_its_engine_have(golden_session):
    session = golden_session("tiny-a")
    found = Controller.of(session, LiveCosts(COSTS))
    own = Candidate(names.DIFFUSION, session.info.default_block_length)
    assert found.candidates == candidates(WIDTHS, diffusion_block=own.block_length)
    assert found.decide([found.join(allow_diffusion=True)]).candidate in found.candidates

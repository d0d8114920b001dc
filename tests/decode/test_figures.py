# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of many generations are quotients of sums, and every one is declared once."""

from __future__ import annotations

import pytest

from nld_trt.decode.figures import ACCEPTANCE_LENGTH, FIGURES, TOKENS_PER_SECOND, Counts, Timing, figures_of
from nld_trt.decode.result import Result
from nld_trt.measure.score import Score


def result(mode, tokens, nfe, accepted=(), denoise_passes=(), dropped=0):
    return Result(mode, [7] * tokens, None, "stop", nfe, {}, list(accepted), list(denoise_passes), 0, dropped=dropped)


def figures(results):
    return figures_of(Counts.total(each.counts for each in results))


def test_linear_counts_what_rounds_emitted():
    """The first token is the prefill's; 9 accepted tokens of which 2 were cut are 7 emitted."""
    many = [result("linear", 8, 7, accepted=(4, 2, 3), dropped=2), result("linear", 2, 3, accepted=(1,))]
    found = figures(many)
    assert found["acceptance_length"] == pytest.approx((7 + 1) / (3 + 1))
    assert found["tokens_per_forward"] == pytest.approx(10 / 10)
    assert found["denoise_passes_per_block"] is None
    assert many[0].acceptance_length == pytest.approx(7 / 3)
    assert many[0].tokens_per_forward == pytest.approx(8 / 7)


def test_an_answer_of_one_token_has_no_round():
    assert result("linear", 1, 1).acceptance_length is None


def test_diffusion_counts_passes_per_block():
    found = figures([result("diffusion", 32, 6, denoise_passes=(3, 1)), result("diffusion", 5, 9, (), (8,))])
    assert found["denoise_passes_per_block"] == pytest.approx(4.0)
    assert found["tokens_per_forward"] == pytest.approx(37 / 15)
    assert found["acceptance_length"] is None


def test_what_nobody_measured_has_no_speed():
    assert result("ar", 3, 3).tokens_per_second is None
    assert TOKENS_PER_SECOND.formula(Counts(tokens=6, seconds=2.0)) == 3.0


def test_counts_of_nothing_have_no_figure_that_divides():
    assert {name for name, value in figures([]).items() if value is not None} == {"tokens_per_forward"}


def test_a_change_is_a_signed_difference_and_of_a_rate_a_ratio():
    assert ACCEPTANCE_LENGTH.change(2.0, 1.5) == "-0.50"
    assert ACCEPTANCE_LENGTH.change(None, 1.5) == "-"
    assert TOKENS_PER_SECOND.change(100.0, 250.0) == "×2.50"


def test_every_figure_is_a_field_of_a_score_and_of_a_result():
    assert {figure.name for figure in FIGURES} <= set(Score.__dataclass_fields__)
    assert result("ar", 3, 3).figures.keys() == {figure.name for figure in FIGURES}


def test_inter_token_latency_counts_tokens_and_not_chunks():
    timing = Timing(submitted=1.0)
    for tokens, now in ((0, 1.5), (4, 2.0), (0, 2.5), (8, 6.0)):
        timing.add(tokens, now)
    assert (timing.ttft, timing.latency, timing.itl) == (1.0, 5.0, 0.5)
    one = Timing(submitted=1.0)
    one.add(5, 2.0)
    assert one.itl is None

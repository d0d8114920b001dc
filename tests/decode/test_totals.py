# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of many generations are quotients of sums."""

from __future__ import annotations

import pytest

from nld_trt.decode.result import Result
from nld_trt.decode.totals import Totals


def result(mode, tokens, nfe, accepted=(), denoise_passes=()):
    return Result(mode, [7] * tokens, None, "stop", nfe, {}, list(accepted), list(denoise_passes), 0)


def test_linear_counts_what_rounds_emitted():
    """The first token is the prefill's; 9 accepted tokens of which 2 were cut are 7 emitted."""
    many = [result("linear", 8, 7, accepted=(4, 2, 3)), result("linear", 2, 3, accepted=(1,))]
    totals = Totals.of(many)
    assert totals.acceptance_length == pytest.approx((7 + 1) / (3 + 1))
    assert totals.tokens_per_forward == pytest.approx(10 / 10)
    assert totals.denoise_passes_per_block is None
    assert many[0].acceptance_length == pytest.approx(7 / 3)
    assert many[0].tokens_per_forward == pytest.approx(8 / 7)


def test_an_answer_of_one_token_has_no_round():
    assert Totals.of([result("linear", 1, 1)]).acceptance_length is None


def test_diffusion_counts_passes_per_block():
    totals = Totals.of([result("diffusion", 32, 6, denoise_passes=(3, 1)), result("diffusion", 5, 9, (), (8,))])
    assert totals.denoise_passes_per_block == pytest.approx(4.0)
    assert totals.tokens_per_forward == pytest.approx(37 / 15)
    assert totals.acceptance_length is None

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The formula of the KL divergence, and the sums over positions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nld_trt.measure.compare.divergence import Divergence, Tally, kl_divergence


def test_two_coins_by_hand():
    """KL(1/2, 1/2 || 1/4, 3/4) = 1/2 ln 2 + 1/2 ln 2/3."""
    reference = np.log([[0.5, 0.5]])
    candidate = np.log([[0.25, 0.75]]) + 7.0
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert kl_divergence(reference, candidate) == pytest.approx([expected])


def test_the_direction_is_reference_to_candidate():
    sure, unsure = np.array([[10.0, 0.0, 0.0]]), np.zeros((1, 3))
    assert kl_divergence(sure, unsure) == pytest.approx([math.log(3)], rel=1e-3)
    assert kl_divergence(unsure, sure) > 5


def test_float32_logits_are_computed_in_float64():
    reference = np.random.default_rng(1).normal(size=(4, 5, 300)).astype(np.float32)
    candidate = reference + np.float32(1e-3) * np.random.default_rng(2).normal(size=reference.shape).astype(np.float32)

    def probabilities(logits):
        weights = np.exp(logits.astype(np.float64))
        return weights / weights.sum(-1, keepdims=True)

    p, q = probabilities(reference), probabilities(candidate)
    np.testing.assert_allclose(kl_divergence(reference, candidate), (p * np.log(p / q)).sum(-1), rtol=1e-6)
    assert kl_divergence(reference, candidate).shape == (4, 5)


@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=20), st.floats(-50, 50), st.integers(0, 19))
def test_it_is_zero_for_equal_distributions_and_never_negative(values, shift, place):
    logits = np.array(values, np.float32)
    other = logits.copy()
    other[place % len(values)] += np.float32(shift)
    assert kl_divergence(logits, logits) == 0.0
    assert kl_divergence(logits, other) >= 0.0


def test_tallies_pool_positions():
    first, second = Tally(), Tally()
    first.add(np.array([1.0, 3.0]), np.array([True, False]))
    second.add(np.array([8.0]), np.array([True]))
    second.add(np.zeros(0), np.zeros(0, bool))
    assert (first + second).figures() == Divergence(4.0, 2 / 3, 3)
    assert first.figures() == Divergence(2.0, 0.5, 2)


def test_nothing_measured_is_no_figure():
    assert Tally().figures() == Divergence(None, None, 0)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Shapes of acceptance have the means that were published."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nld_trt import names
from nld_trt.decode.auto.shapes import FORM, PUBLISHED, Shape, expected_tokens, of_mean


def test_workloads_are_those_that_users_may_name():
    assert tuple(PUBLISHED) == names.WORKLOADS
    assert names.DEFAULT_WORKLOAD in PUBLISHED


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("speed-bench", {32: 6.82}),
        ("multilingual", {32: 10.06}),
        ("nine-tasks", {8: 5.78, 16: 8.53, 32: 11.36}),
    ],
)
def test_published_means_are_met(name, means):
    assert {length: PUBLISHED[name].expected(length) for length in means} == pytest.approx(means)


def test_the_form_has_the_means_that_it_is_made_of():
    assert [FORM.expected(length) for length in (4, 8, 16, 32)] == pytest.approx([2.89, 4.17, 5.68, 7.60])


def test_short_blocks_make_the_part_of_long_ones_that_was_measured():
    """The nine tasks were measured at every length, and the form was not made from them."""
    form, measured = FORM.expected(8) / FORM.expected(32), 5.78 / 11.36
    assert form == pytest.approx(measured, abs=0.05)


@given(st.floats(1.0, 32.0))
def test_any_mean_can_be_had(mean):
    assert of_mean(mean).expected(32) == pytest.approx(mean, abs=1e-6)


@given(st.lists(st.integers(0, 50), min_size=2, max_size=32).filter(any))
def test_a_histogram_gives_back_its_mean(counts):
    mean = sum(length * count for length, count in enumerate(counts, start=1)) / sum(counts)
    assert Shape.from_counts(counts).expected(len(counts)) == pytest.approx(mean)


def test_expected_tokens_are_sums_of_survival():
    assert expected_tokens([0.5, 0.5]) == [1.0, 1.5, 1.75]
    assert expected_tokens([]) == [1.0]

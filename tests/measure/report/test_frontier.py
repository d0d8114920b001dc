# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What measured points say: the frontier, where AR overtakes, speed-ups."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nld_trt.measure.report.frontier import best_fixed, crossover, crossovers, frontier, speedups
from nld_trt.measure.report.measured import Measurement
from tests.measure.report.sweep_rows import ROWS, row


def measured(rows):
    return [Measurement(each, "run", "summary.json") for each in rows]


def ar(rates):
    return measured(row("ar", users, rate) for users, rate in rates.items())


def linear(rates):
    return measured(row("linear", users, rate, block=32) for users, rate in rates.items())


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=20))
def test_a_point_is_on_the_frontier_if_no_other_beats_it_in_both(points):
    def beaten(point):
        return any(
            other != point and other[0] >= point[0] and other[1] >= point[1] for other in points
        )  # fmt: skip

    assert sorted(frontier(points)) == [place for place, point in enumerate(points) if not beaten(point)]


def test_ar_overtakes_where_the_lines_cross():
    # On logarithmic axes AR is a line of slope 1 through 100 and linear is flat at 400.
    found = crossover(ar({1: 100, 16: 1600}), linear({1: 400, 16: 400}), "linear")
    assert found.users == pytest.approx(4)
    assert found.rate == pytest.approx(400)
    assert "between 1 and 16 users, at about 4.0" in found.said


def test_a_lead_that_is_lost_again_is_no_overtaking():
    found = crossover(ar({1: 200, 2: 200, 4: 300, 8: 900}), linear({1: 100, 2: 250, 4: 400, 8: 450}), "linear")
    assert "between 4 and 8 users" in found.said


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ({1: 500, 2: 600}, "linear is ahead of AR at 2 users, the most that were measured"),
        ({1: 50, 2: 60}, "AR is ahead of linear at every number of users from 1 to 2"),
    ],
)
def test_lines_that_do_not_cross_have_no_number(rates, said):
    found = crossover(ar({1: 100, 2: 190}), linear(rates), "linear")
    assert (found.users, found.said) == (None, said)


def test_one_common_number_of_users_says_nothing():
    assert crossover(ar({1: 100, 2: 190}), linear({1: 300, 4: 900}), "linear") is None


def test_auto_is_neither_overtaken_nor_a_fixed_mode():
    points = measured(ROWS)
    assert [found.series for found in crossovers(points)] == ["linear, block 32"]
    assert [each.mode for each in best_fixed(points).values()] == ["linear", "linear", "linear", "ar"]


def test_a_speedup_has_the_range_of_the_repeats():
    (found,) = speedups(measured([row("ar", 1, 100, spread=0.1), row("linear", 1, 330, block=32, spread=0.1)]))
    assert found.factor == pytest.approx(3.3)
    assert (found.low, found.high) == (pytest.approx(297 / 110), pytest.approx(363 / 90))

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A table is corrected by the forwards of a server, and called wrong when it is."""

from __future__ import annotations

import pytest

from nld_trt.decode.auto.costs import Origin, grid
from nld_trt.decode.auto.live import LiveCosts

TABLE = grid((1, 8), (1, 8, 32), lambda rows, width: 1e-3 * (1 + rows * width / 64), Origin("e", "d"))


def after(rounds: int, times: dict[int, float], *, rows: int = 4) -> LiveCosts:
    """A table that was compared with ``rounds`` forwards of each width, which took ``times[width]`` of what it says."""
    costs = LiveCosts(TABLE)
    for _ in range(rounds):
        for width, ratio in times.items():
            costs.observe(rows, width, ratio * TABLE.seconds(rows, width))
    return costs


def test_without_observations_the_table_counts():
    assert LiveCosts(TABLE).seconds(3, 8) == TABLE.seconds(3, 8)
    assert LiveCosts(TABLE).off is None


def test_what_slows_one_width_is_expected_of_the_others():
    costs = after(100, {8: 1.5})
    assert costs.seconds(2, 8) == pytest.approx(1.5 * TABLE.seconds(2, 8))
    assert costs.seconds(2, 32) == pytest.approx(1.5 * TABLE.seconds(2, 32))


def test_each_width_is_corrected_by_its_own_times():
    costs = after(400, {1: 1.2, 8: 0.8})
    assert costs.ratios == pytest.approx({1: 1.2, 8: 0.8}, rel=0.02)


def test_a_slow_down_after_a_while_is_followed():
    costs = after(300, {1: 1.0, 32: 1.0})
    for _ in range(300):
        costs.observe(4, 32, 1.6 * TABLE.seconds(4, 32))
    assert costs.seconds(4, 32) == pytest.approx(1.6 * TABLE.seconds(4, 32), rel=0.05)
    # Longer contexts slow down one token per row as well, though nobody has seen it yet.
    assert costs.seconds(4, 1) > 1.3 * TABLE.seconds(4, 1)


def test_one_outlier_changes_little():
    costs = after(100, {8: 1.0})
    costs.observe(4, 8, 1000 * TABLE.seconds(4, 8))
    assert costs.seconds(4, 8) < 1.05 * TABLE.seconds(4, 8)


@pytest.mark.parametrize(("ratio", "off"), [(1.9, False), (2.2, True), (0.4, True), (0.6, False)])
def test_a_table_that_is_off_is_named(ratio, off):
    assert (after(100, {8: ratio}).off is not None) == off


def test_what_is_off_is_said_in_words():
    assert after(100, {8: 3.0}).off == (
        "forwards take 3.00 times as long at width 8 as the cost table says, which allows a factor of 2"
    )


def test_a_few_slow_forwards_do_not_make_a_table_wrong():
    assert after(5, {8: 5.0}).off is None

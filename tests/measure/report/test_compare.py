# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Two runs differ only where their repeats lie apart."""

from __future__ import annotations

import itertools

import pytest

from nld_trt.errors import InputError
from nld_trt.measure.report import compare as module
from nld_trt.measure.report.compare import Pair, compare
from nld_trt.measure.report.measured import Measurement, read_runs
from tests.measure.report.sweep_rows import ROWS, WORKLOAD, row


def compared(sweep, first, second, **summary):
    return compare(*read_runs([sweep(first, "before"), sweep(second, "after", **summary)]))


@pytest.mark.parametrize(
    ("rate", "verdict"),
    [
        (100.0, module.NO_DIFFERENCE),
        (103.9, module.NO_DIFFERENCE),
        (104.2, module.FASTER),
        (95.9, module.SLOWER),
    ],
)
def test_points_differ_if_their_repeats_have_nothing_in_common(sweep, rate, verdict):
    # The first lies between 98 and 102, the second 2 % around its rate.
    found = compared(sweep, [row("ar", 1, 100.0)], [row("ar", 1, rate)])
    assert [pair.verdict for pair in found.pairs] == [verdict]


def test_a_run_beside_itself_has_no_difference(sweep):
    found = compared(sweep, ROWS, ROWS)
    assert found.says == f"There is no difference at any of {len(ROWS)} points."


def test_one_repeat_has_no_spread(sweep):
    found = compared(sweep, [row(repeats=1)], [row(rate=900.0)])
    assert [pair.verdict for pair in found.pairs] == [module.NO_SPREAD]
    assert "one repeat" in found.says


@pytest.mark.parametrize("repeats", [(2, 2), (3, 3), (2, 4)])
def test_the_stated_chance_is_that_of_every_order_being_as_probable(repeats):
    first, second = repeats
    orders = [*itertools.combinations(range(first + second), first)]
    apart = [
        each for each in orders if max(each) < first or min(each) >= second
    ]  # the first run's ranks are the lowest ones, or the highest ones
    pair = Pair(*(Measurement(row(repeats=count), "run", "file") for count in repeats))
    assert pair.chance == pytest.approx(len(apart) / len(orders))


def test_points_of_one_run_alone_are_listed(sweep):
    found = compared(sweep, [row("ar", 1), row("ar", 2)], [row("ar", 1), row("ar", 4)])
    assert [each.users for each in found.only_first] == [2]
    assert [each.users for each in found.only_second] == [4]


def test_runs_of_two_precisions_are_compared_by_settings(sweep):
    found = compared(sweep, [row("ar", 1, 100.0)], [row("ar", 1, 150.0, precision="fp16")])
    assert len(found.pairs) == 1


def test_subjects_are_matched_where_a_run_has_several(sweep):
    both = [row("ar", 1, 100.0), row("ar", 1, 150.0, precision="fp16")]
    found = compared(sweep, both, both[1:])
    assert [(pair.first.rate, pair.second.rate) for pair in found.pairs] == [(150.0, 150.0)]
    assert len(found.only_first) == 1


def test_other_requests_are_refused(sweep):
    with pytest.raises(InputError, match="did not decode the same") as error:
        compared(sweep, ROWS, ROWS, workload={**WORKLOAD, "max_new_tokens": 128})
    assert error.value.details == ("max_new_tokens: 64 and 128",)


def test_runs_without_a_common_point_are_refused(sweep):
    with pytest.raises(InputError, match="no point in common"):
        compared(sweep, [row("ar", 1)], [row("ar", 2)])

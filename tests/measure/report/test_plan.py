# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Planned points are matched with measured ones, and their errors told."""

from __future__ import annotations

import json

import pytest

from nld_trt.errors import InputError
from nld_trt.measure.report.measured import Measurement
from nld_trt.measure.report.plan import check_plan, median_error, read_plan
from tests.measure.report.sweep_rows import row


def planned(**more):
    rate = more.get("tokens_per_second", 110.0)
    return {
        "platform": "gb200", "precision": "bf16", "mode": "ar", "block_length": None, "users": 1, "context": 1024,
        "tokens_per_second": rate, "tokens_per_second_low": rate * 0.9, "tokens_per_second_high": rate * 1.1,
        "tokens_per_second_per_user": rate, "bound": "bandwidth", "provenance": "fitted", **more,
    }  # fmt: skip


@pytest.fixture
def plan(tmp_path):
    def write(*points):
        path = tmp_path / "plan.json"
        path.write_text(json.dumps({"points": points, "memory": {}}), encoding="utf-8")
        return read_plan(path)

    return write


def checks(plan, *rows):
    return check_plan(plan, [Measurement(each, "run", "file") for each in rows])


def test_the_error_is_the_plan_over_the_measurement(plan):
    (found,) = checks(plan(planned()), row("ar", 1, 100.0))
    assert found.error == pytest.approx(0.1)
    assert found.within
    (found,) = checks(plan(planned()), row("ar", 1, 98.9))
    assert not found.within


def test_errors_are_told_by_the_median_of_their_magnitudes(plan):
    points = plan(planned(), planned(users=2, tokens_per_second=190.0), planned(users=4, tokens_per_second=800.0))
    found = checks(points, row("ar", 1, 100.0), row("ar", 2, 200.0), row("ar", 4, 400.0))
    assert median_error(found) == pytest.approx(0.1)


@pytest.mark.parametrize(
    "other",
    [
        {"mode": "linear"},
        {"users": 2},
        {"platform": "b200"},
        {"platform": "gb200x"},
    ],
)
def test_a_planned_point_of_other_settings_is_none_of_the_measured_one(plan, other):
    assert checks(plan(planned(**other)), row("ar", 1, 100.0)) == []


def test_block_lengths_are_compared(plan):
    points = plan(*(planned(mode="linear", block_length=block) for block in (16, 32)))
    found = checks(points, row("linear", 1, 100.0, block=32))
    assert [check.planned.block_length for check in found] == [32]


def test_kinds_of_a_platform_are_of_it(plan):
    device = "NVIDIA RTX PRO 6000 Blackwell Workstation Edition"
    others = [planned(platform=name) for name in ("rtx-pro-6000-server", "rtx-5090")]
    found = checks(plan(planned(platform="rtx-pro-6000-workstation"), *others), row("ar", 1, 100.0, device=device))
    assert [check.planned.platform for check in found] == ["rtx-pro-6000-workstation"]


def test_precisions_are_compared_if_the_plan_has_several(plan):
    assert len(checks(plan(planned(precision="int4")), row("ar", 1, 100.0))) == 1
    found = checks(plan(planned(precision="int4"), planned()), row("ar", 1, 100.0))
    assert [check.planned.precision for check in found] == ["bf16"]
    found = checks(plan(planned(precision="int4"), planned()), row("ar", 1, 100.0, precision="int4_awq bf16"))
    assert [check.planned.precision for check in found] == ["int4"]


def test_a_client_that_knows_no_device_is_matched_by_settings(plan):
    served = row("ar", 1, 100.0, device=None, gpus=None, precision=None)
    assert len(checks(plan(planned()), served)) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "no list of points"),
        ({"points": []}, "no list of points"),
        ({"points": [{**planned(), "platform": None}]}, "a point has no platform"),
        ({"points": [planned(tokens_per_second=0)]}, "tokens_per_second of a point is 0"),
        ({"points": [planned(users="many")]}, "users of a point is many"),
    ],
)
def test_what_is_no_plan_is_named(tmp_path, content, message):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_plan(path)

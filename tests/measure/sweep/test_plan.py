# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A sweep as a function of an open engine."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from nld_trt.decode.engine import Engine
from nld_trt.errors import InputError
from nld_trt.measure.sweep.plan import plan_sweep
from nld_trt.measure.sweep.settings import SweepSettings
from tests.recorded_progress import Recorded

SETTINGS = SweepSettings(
    modes="ar,linear", block_lengths=[4], concurrency=[1, 2], threshold=0.9, requests=2, max_new_tokens=4,
    ignore_eos=True, warmup=0, repeats=1,
)  # fmt: skip


@pytest.fixture
def opened(engine) -> Engine:
    return Engine.open(engine("tiny-a").path)


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(json.dumps({"prompt_ids": [1, 73, 20 + number]}) for number in range(3)), "utf-8")
    return path


def test_planning_writes_nothing(opened, prompts, tmp_path) -> None:
    planned = plan_sweep(opened, prompts, tmp_path / "results", SETTINGS)
    assert planned.labels() == ["ar_c1", "ar_c2", "linear_b4_c1", "linear_b4_c2"]
    assert not (tmp_path / "results").exists()


def test_a_plan_measures_its_points_and_then_knows_that_they_are_finished(opened, prompts, tmp_path) -> None:
    planned, told = plan_sweep(opened, prompts, tmp_path / "results", SETTINGS), Recorded()
    rows = planned.run(progress=told)
    assert [row["concurrency"] for row in rows] == [1, 2, 1, 2]
    assert len(told.stages) == 4
    assert planned.labels()[0] == "ar_c1 (finished)"
    again = Recorded()
    assert planned.run(progress=again) == rows
    assert again.stages == []


def test_what_cannot_be_measured_is_told_and_left_out(opened, prompts, tmp_path) -> None:
    longest = opened.info.limits.max_quadratic_length
    settings = replace(SETTINGS, modes="quadratic", block_lengths=[longest, longest + 1], concurrency=[1])
    planned, told = plan_sweep(opened, prompts, tmp_path / "results", settings), Recorded()
    assert [point.block_length for point in planned.sweep.results.points] == [longest]
    planned.run(progress=told)
    assert told.notes == planned.left_out_lines()
    assert any(f"quadratic_b{longest + 1}" in line for line in told.notes)


def test_a_setting_that_the_engine_cannot_have_is_refused(opened, prompts, tmp_path) -> None:
    with pytest.raises(InputError, match="--concurrency has 99"):
        plan_sweep(opened, prompts, tmp_path / "results", replace(SETTINGS, concurrency=[99]))

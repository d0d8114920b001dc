# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A sweep as a function of an open engine."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from nld_trt.decode.engine import Engine
from nld_trt.errors import InputError, OperationError
from nld_trt.measure.sweep.plan import plan_sweep
from nld_trt.measure.sweep.report import series, terminal_table
from nld_trt.measure.sweep.script import read_script
from nld_trt.measure.sweep.settings import SweepSettings, request_rates
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
    rows = planned.run(progress=told).rows
    assert [row["concurrency"] for row in rows] == [1, 2, 1, 2]
    assert len(told.stages) == 4
    assert planned.labels()[0] == "ar_c1 (finished)"
    again = Recorded()
    assert planned.run(progress=again).rows == rows
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


def test_a_scripted_sweep_accepts_the_histogram_and_says_so_in_every_row(opened, prompts, tmp_path) -> None:
    histogram = tmp_path / "counts.json"
    histogram.write_text('{"counts": [0, 0, 1, 0]}', encoding="utf-8")
    settings = replace(SETTINGS, script=read_script(str(histogram)), max_new_tokens=13)
    planned = plan_sweep(opened, prompts, tmp_path / "results", settings)
    rows = planned.run().rows
    assert [row["acceptance_length"] for row in rows] == [None, None, 3.0, 3.0]
    assert all(row["scripted_acceptance"].startswith("counts.json, sha256 ") for row in rows)
    assert all("scripted" in cells[0] for cells in terminal_table(rows)[1])
    assert {series(row) for row in rows} == {"ar, scripted", "linear, block 4, scripted"}
    again = plan_sweep(opened, prompts, tmp_path / "results", replace(settings, script=None))
    assert not any("finished" in label for label in again.labels()), "without a script it is another measurement"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ignore_eos": False}, "needs --ignore-eos"),
        ({"modes": "ar,diffusion"}, "mode diffusion has no drafts"),
        ({"block_lengths": [8]}, r"ends at blocks of 4 tokens; one of 8"),
    ],
)
def test_what_cannot_be_scripted_is_refused(opened, prompts, tmp_path, change, message) -> None:
    histogram = tmp_path / "counts.json"
    histogram.write_text('{"counts": [3, 2, 1, 4]}', encoding="utf-8")
    settings = replace(SETTINGS, script=read_script(str(histogram)), **change)
    with pytest.raises(InputError, match=message):
        plan_sweep(opened, prompts, tmp_path / "results", settings)


def test_without_named_modes_those_are_scripted_that_can_be(opened, prompts, tmp_path) -> None:
    planned = plan_sweep(opened, prompts, tmp_path / "results", replace(SETTINGS, modes=None, script=read_script("qa")))
    assert {point.variant for point in planned.sweep.results.points} <= {"ar", "linear", "linear-no-lora", "quadratic"}


def test_arrivals_at_a_rate_are_points_of_their_own(opened, prompts, tmp_path) -> None:
    settings = replace(SETTINGS, modes="ar", request_rates=[50.0, 200.0])
    planned = plan_sweep(opened, prompts, tmp_path / "results", settings)
    assert planned.labels() == ["ar_c1_r50", "ar_c1_r200", "ar_c2_r50", "ar_c2_r200"]
    rows = planned.run().rows
    assert [row["request_rate"] for row in rows] == [50.0, 200.0, 50.0, 200.0]
    assert all(row["requests_ok"] == 2 for row in rows)


def test_a_point_of_more_users_has_more_requests_if_that_is_asked_for(opened, prompts, tmp_path) -> None:
    planned = plan_sweep(opened, prompts, tmp_path / "results", replace(SETTINGS, modes="ar", requests_per_user=3))
    assert [row["requests_ok"] for row in planned.run().rows] == [3, 6]


@pytest.mark.parametrize("text", ["", "0", "-1", "1,x", "inf", "nan"])
def test_rates_that_are_none_are_refused(text) -> None:
    with pytest.raises(InputError, match="--request-rate is"):
        request_rates(text)


def test_a_point_that_fails_is_named_and_the_others_are_measured(opened, prompts, tmp_path, monkeypatch) -> None:
    planned = plan_sweep(opened, prompts, tmp_path / "results", replace(SETTINGS, modes="ar"))
    step, failures = opened.decoder.step, iter([True])

    def fails_once():
        if next(failures, False):
            raise OperationError("the device is lost")
        return step()

    monkeypatch.setattr(opened.decoder, "step", fails_once)
    told = Recorded()
    measured = planned.run(progress=told)
    assert list(measured.failed) == ["ar_c1"]
    assert "the device is lost" in measured.failed["ar_c1"]
    assert [row["concurrency"] for row in measured.rows] == [2]
    assert planned.labels() == ["ar_c1", "ar_c2 (finished)"]

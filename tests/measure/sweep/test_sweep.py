# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Points, measurements and files of a sweep, on a golden engine."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nld_trt.cli import run as command
from nld_trt.decode.batch import Batch
from nld_trt.errors import InputError
from nld_trt.measure.questions import Question
from nld_trt.measure.sweep import report
from nld_trt.measure.sweep.load import percentiles, poisson_arrivals, run_closed_loop, run_open_loop
from nld_trt.measure.sweep.point import Point, Workload, grid
from nld_trt.measure.sweep.results import Results
from nld_trt.measure.sweep.run import Sweep
from nld_trt.measure.variant import VARIANTS, parse_variants
from nld_trt.progress import SILENT
from tests.recorded_progress import Recorded

WORKLOAD = Workload("prompts", "0" * 64, requests=4, max_new_tokens=12, ignore_eos=True, warmup=1, repeats=2)
QUESTIONS = [Question(str(index), (1, 73, 20 + index), None, None) for index in range(3)]
MODEL = {"name": "tiny-a", "sha256": "f" * 64}


@pytest.fixture
def sweep(golden_session, tmp_path):
    info = golden_session("tiny-a").info
    variants = parse_variants("ar,linear", info)
    points = grid(variants, [4, 8], 0.9, [1, 3], info).points
    return Sweep(Results(tmp_path / "results", WORKLOAD, points, "engine"), {v.name: v for v in variants})


@pytest.fixture
def build(converted, tmp_path, capsys):
    """A small engine, built with further flags."""

    def engine(*flags):
        folder = tmp_path / "engine"
        small = ("--max-seq-len", "64", "--max-batch-size", "2")
        assert command(["build", str(converted("tiny-a")), "-o", str(folder), *small, *flags]) == 0
        capsys.readouterr()
        return folder

    return engine


def run(sweep, session, resume=True, progress=SILENT):
    sweep.results.prepare({"python": "test"})
    return sweep.run(Batch(session), QUESTIONS, MODEL, "cpu", 0, resume=resume, progress=progress).rows


def test_ar_has_one_point_per_concurrency_whatever_the_block_lengths(sweep):
    assert [point.label for point in sweep.results.points] == [
        "ar_c1", "ar_c3", "linear_b4_c1", "linear_b4_c3", "linear_b8_c1", "linear_b8_c3",
    ]  # fmt: skip


@pytest.mark.parametrize(("lengths", "levels", "message"), [([65], [1], "65.*1 to 64"), ([8], [9], "9.*1 to 8")])
def test_points_beyond_the_engine_are_refused(golden_session, lengths, levels, message):
    info = golden_session("tiny-a").info
    with pytest.raises(InputError, match=message):
        grid([VARIANTS["linear"]], lengths, 0.9, levels, info)


@pytest.fixture
def built_for(golden_session):
    """Facts of the golden engine, as if built for quadratic passes of so many drafts."""
    info = golden_session("tiny-a").info
    return lambda drafts: replace(info, limits=replace(info.limits, max_quadratic_length=drafts))


@pytest.mark.parametrize(
    ("drafts", "lengths", "message"),
    [(0, None, "without quadratic passes"), (0, [8], "without quadratic passes"), (4, [8, 6], "has 8.*up to 4 drafts")],
)
def test_a_named_mode_that_cannot_run_at_all_is_refused(built_for, drafts, lengths, message):
    info = built_for(drafts)
    with pytest.raises(InputError, match=message) as error:
        grid(parse_variants("linear,quadratic", info), lengths, 0.9, [1], info)
    assert "--modes" in error.value.fix


def test_settings_of_a_grid_that_cannot_run_are_left_out_with_the_reason(built_for):
    info = built_for(4)
    found = grid(parse_variants("linear,quadratic", info), [4, 8], 0.9, [1, 2], info)
    assert [point.label for point in found.points if point.variant == "quadratic"] == [
        "quadratic_b4_c1", "quadratic_b4_c2",
    ]  # fmt: skip
    assert list(found.left_out) == ["quadratic_b8"]
    assert "up to 4 drafts" in found.left_out["quadratic_b8"]


def test_a_mode_that_was_not_named_may_be_left_out_altogether(built_for):
    info = built_for(4)
    found = grid(parse_variants(None, info), [8], 0.9, [1], info, named=False)
    assert "quadratic" not in {point.variant for point in found.points}
    assert list(found.left_out) == ["quadratic_b8"]


def test_without_block_lengths_every_mode_has_its_own(built_for):
    info = built_for(4)
    points = grid(parse_variants("ar,linear,quadratic", info), None, 0.9, [1], info).points
    assert {point.variant: point.block_length for point in points} == {
        "ar": None, "linear": info.default_block_length, "quadratic": 4,
    }  # fmt: skip


@pytest.mark.parametrize("flags", [("--modes", "quadratic"), ("--modes", "quadratic,linear", "--dry-run")])
def test_refusal_of_a_mode_writes_nothing(build, tmp_path, capsys, flags):
    folder, prompts = build(), tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt_ids": [1, 73]}\n', encoding="utf-8")
    assert command(["sweep", str(folder), "--prompts", str(prompts), "-o", str(tmp_path / "results"), *flags]) == 2
    captured = capsys.readouterr()
    assert "built without quadratic passes" in captured.err
    assert captured.out == ""
    assert not (tmp_path / "results").exists()


def test_a_dry_run_names_what_is_left_out(build, tmp_path, capsys):
    folder, prompts = build("--quadratic-length", "4"), tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt_ids": [1, 73]}\n', encoding="utf-8")
    arguments = ["sweep", str(folder), "--prompts", str(prompts), "-o", str(tmp_path / "results"), "--dry-run"]
    arguments += ["--modes", "quadratic", "--block-length", "4,8", "--max-new-tokens", "4"]
    assert command(arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("1 point:\n  quadratic_b4_c1\nleft out:\n  quadratic_b8: ")
    assert "up to 4 drafts" in out
    assert command([*arguments, "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["left_out"]) == ["quadratic_b8"]
    assert not (tmp_path / "results").exists()


def test_rows_have_the_columns_and_the_work_that_was_asked_for(sweep, golden_session):
    for row in run(sweep, golden_session("tiny-a")):
        assert tuple(row) == report.COLUMNS
        assert row["requests_ok"] == 8
        assert row["output_tokens"] == 8 * 12
        assert row["output_tps_min"] <= row["output_tps"] <= row["output_tps_max"]
        assert 0 <= row["host_share"] < 1


def test_summaries_hold_every_point(sweep, golden_session):
    rows = run(sweep, golden_session("tiny-a"))
    with (sweep.results.folder / "summary.csv").open(encoding="utf-8") as file:
        assert [line["mode"] for line in csv.DictReader(file)] == [row["mode"] for row in rows]
    assert json.loads((sweep.results.folder / "summary.json").read_text(encoding="utf-8"))["rows"] == rows


def test_finished_points_are_not_measured_again(sweep, golden_session):
    run(sweep, golden_session("tiny-a"))
    told = Recorded()
    run(sweep, golden_session("tiny-a"), progress=told)
    assert told.stages == []
    other = replace(sweep.results, workload=replace(WORKLOAD, max_new_tokens=5))
    run(replace(sweep, results=other), golden_session("tiny-a"), progress=told)
    assert len(told.stages) == len(sweep.results.points), "another workload is another measurement"


def test_interrupted_sweep_keeps_what_was_finished(sweep, golden_session):
    breaking = Recorded(interrupted_by=lambda text: text.startswith("point 3"))
    with pytest.raises(KeyboardInterrupt):
        run(sweep, golden_session("tiny-a"), progress=breaking)
    finished = [sweep.results.finished(point) is not None for point in sweep.results.points]
    assert finished == [True, True, False, False, False, False]
    assert len((sweep.results.folder / "summary.csv").read_text(encoding="utf-8").splitlines()) == 3


def test_folder_that_is_no_sweep_is_refused(sweep):
    sweep.results.folder.mkdir()
    (sweep.results.folder / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="is not a sweep folder"):
        sweep.results.prepare({})


def test_closed_loop_never_exceeds_its_concurrency(golden_session):
    session = golden_session("tiny-a")
    batch = Batch(session)
    seen = []
    original = batch.step

    def step():
        emissions = original()
        seen.append(batch.live_rows)
        return emissions

    batch.step = step
    point = Point("ar", None, None, 2)
    requests = [VARIANTS["ar"].request(q.prompt_ids, max_new_tokens=6, stop_on_eos=False) for q in QUESTIONS * 2]
    result = run_closed_loop(batch, requests, point.concurrency)
    assert max(seen) <= 2
    assert len(result.results) == 6
    assert all(0 < timing.ttft <= timing.latency for timing in result.timings)


def test_a_request_that_arrives_is_timed_from_its_arrival_though_it_waits(golden_session):
    requests = [VARIANTS["ar"].request(q.prompt_ids, max_new_tokens=6, stop_on_eos=False) for q in QUESTIONS]
    found = run_open_loop(Batch(golden_session("tiny-a")), requests, 1, [0.0, 0.0, 0.0])
    assert len({timing.submitted for timing in found.timings}) == 1
    # One after the other, each of them has waited for those before it.
    assert found.timings[0].latency < found.timings[1].ttft < found.timings[1].latency < found.timings[2].ttft


def test_a_request_is_not_decoded_before_it_arrives(golden_session):
    requests = [VARIANTS["ar"].request(q.prompt_ids, max_new_tokens=2, stop_on_eos=False) for q in QUESTIONS]
    found = run_open_loop(Batch(golden_session("tiny-a")), requests, 3, [0.0, 0.2, 0.4])
    assert found.seconds > 0.4
    assert all(timing.ttft > 0 for timing in found.timings)


def test_arrivals_are_those_of_a_poisson_process():
    arrivals = np.diff([0.0, *poisson_arrivals(4.0, 20_000, seed=1)])
    # Of an exponential distribution the standard deviation is the mean; four standard errors of each.
    assert arrivals.mean() == pytest.approx(0.25, rel=4 / 20_000**0.5)
    assert arrivals.std() == pytest.approx(0.25, rel=4 * (2 / 20_000) ** 0.5)
    assert poisson_arrivals(4.0, 5) == poisson_arrivals(4.0, 5)


def test_settings_that_are_new_leave_the_keys_of_earlier_results_as_they_are():
    # What an earlier version wrote for this point.
    assert Point("ar", None, None, 2).key(WORKLOAD, "engine") == "a55dd5361eccc921"
    assert Point("ar", None, None, 2, 0.5).key(WORKLOAD, "engine") != "a55dd5361eccc921"


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_percentiles_are_those_of_numpy(values):
    figures = percentiles(values)
    expected = np.percentile(values, [50, 90, 99])
    np.testing.assert_allclose([figures["p50"], figures["p90"], figures["p99"]], expected, rtol=1e-9, atol=1e-9)


def test_plots_are_drawn_from_rows(sweep, golden_session):
    from nld_trt.measure.sweep.plots import draw

    rows = run(sweep, golden_session("tiny-a"))
    for path in draw(rows, sweep.results.folder, "tiny-a"):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_energy_of_a_gpu_is_told_by_token(sweep, golden_session, monkeypatch):
    """A counter that shows 6 J more each time it is read: 6 J for each of the two repeats."""
    session, readings = golden_session("tiny-a"), iter(range(0, 10_000, 6))
    assert all(row["joules_per_token"] is None for row in run(sweep, session))
    monkeypatch.setattr(session, "device", "gpu")
    monkeypatch.setattr(sys.modules[run_closed_loop.__module__], "energy_joules", lambda: float(next(readings)))
    tokens = WORKLOAD.requests * WORKLOAD.max_new_tokens * WORKLOAD.repeats
    assert {row["joules_per_token"] for row in run(sweep, session, resume=False)} == {12 / tokens}


def test_a_gpu_that_counts_no_energy_leaves_it_empty(sweep, golden_session, monkeypatch):
    session = golden_session("tiny-a")
    monkeypatch.setattr(session, "device", "gpu")
    monkeypatch.setattr(sys.modules[run_closed_loop.__module__], "energy_joules", lambda: None)
    assert all(row["joules_per_token"] is None for row in run(sweep, session))

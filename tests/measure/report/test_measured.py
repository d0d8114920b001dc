# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of results are read, or refused with what is wrong with them."""

from __future__ import annotations

import json

import pytest

from nld_trt.errors import InputError
from nld_trt.measure.report.measured import SweepRun, read_runs
from nld_trt.measure.report.sections import origin
from nld_trt.measure.sweep.results import ENVIRONMENT, SUMMARY_JSON
from tests.measure.report.sweep_rows import ROWS, row


def test_points_have_their_file_date_and_commands(sweep):
    first, second = row("ar", 1, 100.0), row("ar", 2, 190.0)
    point = {"key": "k", "row": first, "date": "2026-01-02T03:04:05+00:00", "commands": ["aiperf profile"]}
    run = SweepRun.read(sweep([first, second], points=[("ar_c1", point)]))
    assert [each.source for each in run.measurements] == ["points/ar_c1.json", SUMMARY_JSON]
    assert run.measurements[0].date == "2026-01-02T03:04:05+00:00"
    assert run.commands == {"points/ar_c1.json": ["aiperf profile"]}


def test_a_damaged_file_of_a_point_does_not_lose_its_row(sweep):
    folder = sweep([row()])
    (folder / "points" / "ar_c1.json").write_text("{", encoding="utf-8")
    assert [each.source for each in SweepRun.read(folder).measurements] == [SUMMARY_JSON]


def test_categories_come_from_the_files_of_points(sweep):
    point = row("linear", 1, 330.0, block=32)
    sums = {"coding": {"requests": 2, "tokens": 90, "nfe": 20, "accepted": 70, "drafts": 10}}
    run = SweepRun.read(sweep([point], points=[("linear_b32_c1", {"row": point, "categories": sums})]))
    assert [(each["category"], each["acceptance_length"]) for each in run.categories] == [("coding", 8.0)]


def test_runs_of_one_name_are_told_apart(sweep):
    folders = [sweep(ROWS, "one/results"), sweep(ROWS, "two/results")]
    assert [run.name for run in read_runs(folders)] == ["results", "results (2)"]
    with pytest.raises(InputError, match="given twice"):
        read_runs([folders[0], folders[0]])


def test_joined_sweeps_have_several_machines_and_workloads(sweep):
    folder = sweep(workload=None, workloads=[{"prompts_name": "a.jsonl"}, {"prompts_name": "b.jsonl"}])
    machines = {"spark": {"cpu": "one"}, "server": {"cpu": "another"}}
    (folder / ENVIRONMENT).write_text(json.dumps({"cpu": "one", "merged": machines}), encoding="utf-8")
    run = SweepRun.read(folder)
    assert [workload["prompts_name"] for workload in run.workloads] == ["a.jsonl", "b.jsonl"]
    assert run.environments == machines
    texts = {cell.text for table in origin(run, "origin").tables for line in table.rows for cell in line}
    assert {"a.jsonl", "b.jsonl", "one", "another"} <= texts


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere does not exist"):
        SweepRun.read(tmp_path / "nowhere")


def test_an_empty_folder_is_no_sweep(tmp_path):
    with pytest.raises(InputError, match=f"not a folder of sweep results: it has no {ENVIRONMENT}"):
        SweepRun.read(tmp_path)


def test_a_sweep_that_measured_nothing_has_nothing_to_report(sweep):
    folder = sweep()
    (folder / SUMMARY_JSON).unlink()
    with pytest.raises(InputError, match="nothing to report: no point has ended"):
        SweepRun.read(folder)
    with pytest.raises(InputError, match="none of its points was measured, and 1 failed"):
        SweepRun.read(sweep([], "failed", failed={"ar_c1": "out of memory"}))


@pytest.mark.parametrize("version", [1, 3, None, "2"])
def test_another_version_is_refused(sweep, version):
    with pytest.raises(InputError, match=f"schema version {version}; this nld-trt reads 2"):
        SweepRun.read(sweep(schema_version=version))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"a": 1}, "has no list of rows"),
        ([{"mode": "ar"}], "has a row without model, block_length"),
        ([row(output_tps=None)], "output_tps is 'None', which is no number"),
    ],
)
def test_damaged_rows_are_named(sweep, rows, message):
    with pytest.raises(InputError, match=message):
        SweepRun.read(sweep(rows))


def test_a_file_that_was_cut_is_named(sweep):
    folder = sweep()
    text = (folder / SUMMARY_JSON).read_text(encoding="utf-8")
    (folder / SUMMARY_JSON).write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(InputError, match=r"summary\.json is not valid JSON"):
        SweepRun.read(folder)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt sweep URL`` with recorded runs of AIPerf: files, rows, resuming, failures, and what is refused."""

from __future__ import annotations

import csv
import json

import pytest

from nld_trt.cli import run as command
from nld_trt.measure.sweep.report import COLUMNS


@pytest.fixture
def sweep(front, recorded_aiperf, speed_bench, tmp_path):
    """Runs the command with further arguments and returns its exit status."""

    def start(*more: str, url: str = front.url, prompts=speed_bench) -> int:
        return command(
            ["sweep", url, "--prompts", str(prompts), "-o", str(tmp_path / "results"), "--aiperf",
             str(recorded_aiperf), "--modes", "linear", "--repeats", "2", "--no-plots", *more]
        )  # fmt: skip

    return start


def test_rows_and_files_are_those_of_a_sweep(sweep, tmp_path, capsys) -> None:
    assert sweep("--concurrency", "1,4", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [(row["mode"], row["concurrency"], row["requests_ok"]) for row in told["rows"]] == [
        ("linear", 1, 12), ("linear", 4, 12),
    ]  # fmt: skip
    results = tmp_path / "results"
    with (results / "summary.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert (tuple(lines[0]), len(lines)) == (COLUMNS, 2)
    environment = json.loads((results / "environment.json").read_text(encoding="utf-8"))
    assert environment["versions"]["aiperf"] == "0.13.0"
    assert "warm-up requests are outside" in environment["timed_region"]


def test_a_point_has_its_commands_versions_and_what_was_timed(sweep, front, tmp_path) -> None:
    sweep()
    point = json.loads((tmp_path / "results" / "points" / "linear_c1.json").read_text(encoding="utf-8"))
    assert [line.rpartition("/")[2] for line in point["commands"]] == ["run-1", "run-2"]
    assert point["commands"][0].startswith(f"aiperf profile --model nld --url {front.url} ")
    assert point["server"] == front.url
    assert point["versions"].keys() == {"aiperf", "nld_trt", "python"}
    assert point["timed_region"]


def test_whole_answers_are_read_and_not_kept(sweep, tmp_path) -> None:
    sweep()
    kept = {path.name for path in (tmp_path / "results" / "points" / "linear_c1" / "run-1").iterdir()}
    assert kept == {"output.log", "profile_export.jsonl", "profile_export_aiperf.json"}


def test_categories_are_reported(sweep, tmp_path, capsys) -> None:
    assert sweep() == 0
    assert "sorting" in capsys.readouterr().out
    with (tmp_path / "results" / "categories.csv").open(encoding="utf-8") as file:
        found = {line["category"]: line["requests"] for line in csv.DictReader(file)}
    assert found == {"addition": "6", "counting": "4", "sorting": "2"}


def test_a_point_that_fails_is_named_and_the_sweep_goes_on(sweep, tmp_path, capsys) -> None:
    assert sweep("--concurrency", "1,2,4") == 1
    captured = capsys.readouterr()
    assert "1 of 3 points failed\n  linear_c2: 2 of 2 requests failed: 1 × 400: max_tokens is 100000" in captured.err
    summary = json.loads((tmp_path / "results" / "summary.json").read_text(encoding="utf-8"))
    assert [row["concurrency"] for row in summary["rows"]] == [1, 4]
    assert list(summary["failed"]) == ["linear_c2"]


def test_requests_that_fail_beside_others_are_told(sweep, capsys) -> None:
    assert sweep() == 0
    assert (
        "linear at concurrency 1: 2 of 14 requests failed: 2 × InvalidInferenceResultError" in capsys.readouterr().err
    )


def test_finished_points_are_not_measured_again(sweep, recorded_aiperf, capsys) -> None:
    sweep()
    capsys.readouterr()
    sweep("--concurrency", "1,4")
    assert "point 2/2" in (told := capsys.readouterr().err)
    assert "point 1/2" not in told


def test_a_dry_run_lists_the_points_and_writes_nothing(sweep, tmp_path, capsys) -> None:
    assert sweep("--concurrency", "1,4", "--dry-run") == 0
    assert capsys.readouterr().out == "2 points:\n  linear_c1\n  linear_c4\n"
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--model-name", "other"), "has no model other"),
        (("--modes", "linear,quadratic"), "cannot decode in mode quadratic"),
        (("--backend", "ort"), "--backend has no meaning for a server"),
        (("--aiperf", "nowhere"), "needs the program aiperf, and nowhere is not a file"),
        (("--num-gpus", "-1"), "--num-gpus is -1"),
        (("--concurrency", "0"), "--concurrency has 0"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(sweep, tmp_path, capsys, flags, message) -> None:
    assert sweep(*flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_prompts_that_are_not_speed_benchs_are_named(sweep, tmp_path, capsys) -> None:
    prompts = tmp_path / "other.jsonl"
    prompts.write_text('{"question_id": 81, "turns": ["Hello"]}\n', encoding="utf-8")
    assert sweep(prompts=prompts) == 2
    assert "line 1 of the prompts file cannot be used: question_id is 81" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "127.0.0.1:9"])
def test_an_address_that_nothing_answers_is_named(sweep, tmp_path, capsys, url) -> None:
    assert sweep(url=url) == 2
    assert "answers at" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_server_of_another_kind_is_named(sweep, front, capsys) -> None:
    front.models = None
    assert sweep() == 2
    assert "neither OpenAI-compatible (no /v1/models) nor a Triton server" in capsys.readouterr().err


def test_flags_of_a_server_are_refused_for_an_engine(speed_bench, tmp_path, capsys) -> None:
    assert command(["sweep", str(tmp_path), "--prompts", str(speed_bench), "-o", "x", "--model-name", "nld"]) == 2
    assert "--model-name has no meaning for an engine folder" in capsys.readouterr().err

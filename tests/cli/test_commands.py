# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The commands as a user runs them, on nld-tiny and the goldens."""

from __future__ import annotations

import json

import pytest

from nld_trt.cli import run

QUESTION = "Convert 37 km to m."
SMALL = ("--max-seq-len", "256", "--max-batch-size", "4")


@pytest.fixture(scope="module")
def built(converted, tmp_path_factory):
    """An engine folder of nld-tiny made by the command itself."""
    target = tmp_path_factory.mktemp("command") / "engine"
    assert run(["build", str(converted("nld-tiny")), "-o", str(target), *SMALL]) == 0
    return target


@pytest.fixture(scope="module")
def prompts(root, tmp_path_factory):
    lines = (root / "examples" / "nld-tiny" / "eval.jsonl").read_text().splitlines()[:10]
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text("\n".join(lines))
    return path


def ask(capsys, *arguments):
    """(exit status, stdout, stderr) of a command."""
    capsys.readouterr()
    status = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("mode", ["ar", "diffusion", "linear"])
def test_generate_streams_the_answer_and_a_summary(built, capsys, mode):
    status, out, err = ask(capsys, "generate", built, QUESTION, "--mode", mode)
    assert status == 0
    assert "37000 m" in out
    assert f"[{mode}, " in err
    assert "tokens per forward" in err


def test_generate_json_is_one_object(built, capsys):
    status, out, _ = ask(capsys, "generate", built, QUESTION, "--json")
    values = json.loads(out)
    assert status == 0
    assert values["finish_reason"] == "stop"
    assert values["tokens"] == len(values["output_ids"])
    assert values["acceptance_length"] > 1


def test_stop_string_ends_the_text_before_it(built, capsys):
    _, out, _ = ask(capsys, "generate", built, QUESTION, "--stop", "The answer")
    assert "so 37 km" in out
    assert "The answer" not in out


def test_batch_form_reports_bad_lines_and_exits_1(built, capsys, tmp_path):
    requests, results = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    requests.write_text(json.dumps({"id": "a", "prompt": QUESTION}) + '\n{"id": "b"}\n')
    status, _, _ = ask(capsys, "generate", built, "--input", requests, "--output", results)
    first, second = (json.loads(line) for line in results.read_text().splitlines())
    assert status == 1
    assert "37000 m" in first["text"]
    assert second["id"] == "b"
    assert "error" in second


def test_evaluate_scores_every_mode(built, prompts, capsys, tmp_path):
    scores = tmp_path / "scores.json"
    status, out, _ = ask(capsys, "evaluate", built, "--prompts", prompts, "-o", scores)
    assert status == 0
    report = json.loads(scores.read_text())
    assert [score["mode"] for score in report["scores"]] == ["ar", "diffusion", "linear", "linear-no-lora"]
    assert all(score["mode"] in out for score in report["scores"])
    by_mode = {score["mode"]: score for score in report["scores"]}
    assert by_mode["linear"]["accuracy"] == by_mode["ar"]["accuracy"]
    assert by_mode["ar"]["tokens_per_forward"] == 1.0


def test_sweep_writes_its_files_and_resumes(built, prompts, capsys, tmp_path):
    folder = tmp_path / "results"
    command = ("sweep", built, "--prompts", prompts, "-o", folder, "--modes", "ar,linear", "--requests", 2,
               "--max-new-tokens", 8, "--repeats", 1, "--warmup", 0, "--concurrency", "1,2")  # fmt: skip
    status, out, _ = ask(capsys, *command)
    assert status == 0
    assert "tokens/s" in out
    names = {path.name for path in folder.iterdir()}
    assert {"summary.csv", "summary.json", "environment.json", "points", "by_mode.png", "pareto.png"} == names
    _, _, err = ask(capsys, *command)
    assert "point " not in err


def test_sweep_dry_run_lists_points_and_writes_nothing(built, prompts, capsys, tmp_path):
    status, out, _ = ask(
        capsys, "sweep", built, "--prompts", prompts, "-o", tmp_path / "r", "--dry-run", "--modes", "ar"
    )
    assert status == 0
    assert "ar_c1" in out
    assert not (tmp_path / "r").exists()


def test_inspect_knows_each_kind(built, converted, goldens, capsys):
    kinds = {}
    for path in (built, converted("nld-tiny"), goldens / "tiny-a"):
        status, out, _ = ask(capsys, "inspect", path, "--json")
        assert status == 0
        kinds[path.name] = json.loads(out)["kind"]
    assert list(kinds.values()) == ["engine", "converted checkpoint", "release checkpoint"]


def test_build_dry_run_writes_nothing(converted, capsys, tmp_path):
    status, out, _ = ask(capsys, "build", converted("tiny-a"), "-o", tmp_path / "e", "--dry-run", "--json")
    assert status == 0
    assert json.loads(out)["plans"][0]["backend"] == "ort"
    assert list(tmp_path.iterdir()) == []


def test_flags_win_over_the_config_file(converted, capsys, tmp_path):
    config = tmp_path / "build.yaml"
    config.write_text("backends: [ort]\nmax_batch_size: 2\nmax_seq_len: 100\n")
    arguments = ("build", converted("tiny-a"), "-o", tmp_path / "e", "--config", config, "--max-batch-size", 3)
    _, out, _ = ask(capsys, *arguments, "--dry-run", "--json")
    plan = json.loads(out)["plans"][0]
    assert (plan["max_batch_size"], plan["max_seq_len"]) == (3, 100)


def test_underscores_are_understood(converted, capsys, tmp_path):
    status, _, _ = ask(
        capsys, "build", converted("tiny-a"), "--output_dir", tmp_path / "e", "--max_seq_len", 64, "--dry_run"
    )
    assert status == 0


REFUSALS = {
    "no prompt": (("generate", "{engine}"), "PROMPT or --input"),
    "no engine": (("generate", "{tmp}", "hi"), "nld-trt build"),
    "prompt over capacity": (("generate", "{engine}", "hi", "--max-new-tokens", "9999"), "--max-seq-len"),
    "block over profile": (("generate", "{engine}", "hi", "--block-length", "64"), "--block-length"),
    "bad threshold": (("generate", "{engine}", "hi", "--threshold", "high"), "'high'"),
    "release given to build": (("build", "{golden}", "-o", "{tmp}/e"), "nld-trt convert"),
    "engine exists": (("build", "{checkpoint}", "-o", "{engine}"), "--force"),
    "bf16 on ort": (("build", "{checkpoint}", "-o", "{tmp}/e", "--precision", "bf16"), "bf16"),
    "unknown yaml key": (("build", "{checkpoint}", "-o", "{tmp}/e", "-c", "{yaml}"), "max_batch"),
    "platform without backend": (
        ("build", "{checkpoint}", "-o", "{tmp}/e", "--backend", "ort", "--platform", "dgx-spark"), "dgx-spark"
    ),
    "inspect nothing": (("inspect", "{tmp}"), "neither"),
    "unknown mode in evaluate": (("evaluate", "{engine}", "--prompts", "{prompts}", "--modes", "warp"), "warp"),
    "concurrency over engine": (
        ("sweep", "{engine}", "--prompts", "{prompts}", "-o", "{tmp}/r", "--concurrency", "99"), "99"
    ),
    "sweep into another folder": (("sweep", "{engine}", "--prompts", "{prompts}", "-o", "{golden}"), "no sweep folder"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_refusal_exits_2_with_the_fix_and_writes_nothing(built, converted, goldens, prompts, capsys, tmp_path, case):
    arguments, message = REFUSALS[case]
    yaml = tmp_path.parent / f"{tmp_path.name}.yaml"
    yaml.write_text("max_batch: 3\n")
    names = {
        "engine": built, "checkpoint": converted("nld-tiny"), "golden": goldens / "tiny-a", "tmp": tmp_path,
        "prompts": prompts, "yaml": yaml,
    }  # fmt: skip
    status, out, err = ask(capsys, *(argument.format(**names) for argument in arguments))
    assert status == 2
    assert message in err
    assert "Traceback" not in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt evaluate --against``: two engines side by side."""

from __future__ import annotations

import json
import shutil

import pytest

from nld_trt.cli import run
from nld_trt.cli._scores import comparison_table, side_by_side_table
from nld_trt.measure.compare.comparison import Comparison
from nld_trt.measure.compare.divergence import Divergence
from nld_trt.measure.score import Score

SMALL = ("--max-seq-len", "256", "--max-batch-size", "4")
PROMPTS = 6


@pytest.fixture(scope="module")
def engines(converted, tmp_path_factory):
    """nld-tiny in FP32, in FP16 and without its adapter, and an engine of another model."""
    folder = tmp_path_factory.mktemp("engines")
    for name, model, flags in (
        ("full", "nld-tiny", ()),
        ("half", "nld-tiny", ("--precision", "fp16")),
        ("bare", "nld-tiny", ("--no-lora",)),
        ("foreign", "tiny-a", ()),
    ):
        assert run(["build", str(converted(model)), "-o", str(folder / name), *SMALL, *flags]) == 0
    return folder


@pytest.fixture(scope="module")
def prompts(root, tmp_path_factory):
    lines = (root / "examples" / "nld-tiny" / "eval.jsonl").read_text(encoding="utf-8").splitlines()[:PROMPTS]
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def ask(capsys, *arguments):
    """(exit status, stdout, stderr) of a command."""
    capsys.readouterr()
    status = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_two_engines_are_shown_side_by_side_with_their_predictions(engines, prompts, capsys, tmp_path):
    file = tmp_path / "report.json"
    status, out, _ = ask(
        capsys, "evaluate", engines / "half", "--prompts", prompts, "--against", engines / "full", "-o", file,
        "--batch-size", 4,
    )  # fmt: skip
    assert status == 0
    report = json.loads(file.read_text(encoding="utf-8"))
    against, comparison = report["against"], report["comparison"]
    assert (report["precision"], against["precision"]) == ("fp16", "fp32")
    assert report["model_sha256"] == against["model_sha256"]
    assert set(against) == {"engine", "model_sha256", "quantization", "backend", "precision", "scores"}
    modes = ["ar", "diffusion", "linear", "linear-no-lora"]
    assert [score["mode"] for score in against["scores"]] == [score["mode"] for score in report["scores"]] == modes
    assert comparison["causal"]["positions"] == against["scores"][0]["tokens"], "every token of the reference's answers"
    for figures in (comparison["causal"], comparison["bidirectional"], comparison["draft"]):
        assert 0 < figures["kl"] < 1e-4
        assert figures["top1_agreement"] > 0.99
    assert list(comparison["bidirectional"]["by_noise_level"]) == ["1.0", "0.75", "0.5", "0.25"]
    for text in ("ar (against)", "ar (change)", "KL (nats)", "top-1 agreement", "50% masked", "ort fp16", "ort fp32"):
        assert text in out


def test_a_long_evaluation_says_how_far_it_is(engines, prompts, capsys):
    status, _, err = ask(
        capsys, "evaluate", engines / "half", "--prompts", prompts, "--against", engines / "full", "--modes", "ar"
    )
    assert status == 0
    for work in ("decoding ar:", "decoding ar (against):", "comparing predictions:"):
        counts = [line.split(": ")[1].split(",")[0] for line in err.splitlines() if line.startswith(work)]
        assert counts == sorted(set(counts)), "each count once, in order"
        assert set(counts) <= {f"{done} of {PROMPTS} prompts" for done in range(1, PROMPTS)}
    assert f"decoding ar: 3 of {PROMPTS} prompts" in err


def test_report_and_table_have_the_block_length_of_each_mode(converted, prompts, capsys, tmp_path):
    folder = tmp_path / "wide"
    assert run(["build", str(converted("nld-tiny")), "-o", str(folder), *SMALL, "--quadratic-length", "4"]) == 0
    arguments = ("evaluate", folder, "--prompts", prompts, "--limit", 1, "--modes", "ar,linear,quadratic")
    status, out, _ = ask(capsys, *arguments, "--json")
    assert status == 0
    lengths = {score["mode"]: score["block_length"] for score in json.loads(out)["scores"]}
    assert lengths == {"ar": None, "linear": 32, "quadratic": 4}
    status, out, _ = ask(capsys, *arguments)
    assert status == 0
    cells = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in out.splitlines() if "│" in line}
    assert cells == {"ar": "-", "linear": "32", "quadratic": "4"}


@pytest.mark.parametrize("flags", [("--modes", "quadratic"), ("--modes", "ar,quadratic", "--block-length", "8")])
def test_a_mode_that_the_engine_lacks_is_refused_with_the_flag_that_leaves_it_out(engines, prompts, capsys, flags):
    status, out, err = ask(capsys, "evaluate", engines / "full", "--prompts", prompts, *flags)
    assert (status, out) == (2, "")
    assert "built without quadratic passes" in err
    assert "--modes" in err
    assert "decoding" not in err, "something was decoded"


def test_an_engine_against_itself_differs_in_nothing(engines, prompts, capsys):
    status, out, _ = ask(
        capsys, "evaluate", engines / "full", "--prompts", prompts, "--against", engines / "full", "--modes", "linear",
        "--json",
    )  # fmt: skip
    assert status == 0
    report = json.loads(out)
    comparison = report["comparison"]
    for figures in (comparison["causal"], comparison["bidirectional"], comparison["draft"]):
        assert (figures["kl"], figures["top1_agreement"]) == (0.0, 1.0)
    ours, theirs = report["scores"][0], report["against"]["scores"][0]
    for figure in ("accuracy", "tokens", "tokens_per_forward", "acceptance_length"):
        assert ours[figure] == theirs[figure]


def test_a_missing_adapter_is_said_and_drafts_are_left_out(engines, prompts, capsys):
    arguments = ("--prompts", prompts, "--against", engines / "full", "--modes", "linear", "--limit", 2)
    status, out, err = ask(capsys, "evaluate", engines / "bare", *arguments)
    assert status == 0
    assert "bare has no draft adapter" in err
    assert "draft" not in out
    _, out, _ = ask(capsys, "evaluate", engines / "bare", *arguments, "--json")
    assert json.loads(out)["comparison"]["draft"] is None


REFUSALS = {
    "no engine": (("--against", "{tmp}"), "is not an engine folder"),
    "other vocabulary": (("--against", "{foreign}"), "vocab_size is 400 and 256"),
    "missing backend": (("--against", "{full}", "--against-backend", "trt"), "has no trt backend; it has ort"),
    "nothing to compare with": (("--against-backend", "ort"), "--against ENGINE_DIR"),
    "too many rows": (("--against", "{narrow}", "--batch-size", "4"), "was built for 1 to 2"),
    "longer than the other holds": (("--against", "{narrow}", "--max-new-tokens", "120"), "was built for 128"),
    "other blocks": (("--against", "{short}"), "--block-length 8"),
    "the backend of the engine itself is missing": (("--against", "{compiled}"), "--against-backend trt"),
}


@pytest.fixture(scope="module")
def narrow(engines, converted):
    for name, flags in (
        ("narrow", ("--max-seq-len", "128", "--max-batch-size", "2")),
        ("short", (*SMALL, "--block-length", "8")),
    ):
        assert run(["build", str(converted("nld-tiny")), "-o", str(engines / name), *flags]) == 0
    # As if it had been built for another library; what it holds is not looked at before that.
    shutil.copytree(engines / "full", engines / "compiled")
    manifest = engines / "compiled" / "engine.json"
    values = json.loads(manifest.read_text(encoding="utf-8"))
    values["backends"] = {"trt": {**values["backends"]["ort"], "backend": "trt"}}
    manifest.write_text(json.dumps(values), encoding="utf-8")
    return engines


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_come_before_any_decoding(narrow, prompts, capsys, tmp_path, case):
    arguments, message = REFUSALS[case]
    names = {name: narrow / name for name in ("full", "foreign", "narrow", "short", "compiled")} | {"tmp": tmp_path}
    status, out, err = ask(
        capsys, "evaluate", narrow / "full", "--prompts", prompts, "-o", tmp_path / "report.json",
        *(argument.format(**names) for argument in arguments),
    )  # fmt: skip
    assert status == 2
    assert message in err
    assert "Traceback" not in err
    assert "decoding" not in err, "something was decoded"
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def score(mode, **figures):
    values = {
        "block_length": 16, "requests": 1, "tokens": 10,
        "accuracy": 0.5, "accuracy_by_family": {}, "tokens_per_forward": 2.0,
        "acceptance_length": None, "denoise_passes_per_block": None, "tokens_per_second": 100.0, "seconds": 1.0,
        "host_share": 0.1,
    }  # fmt: skip
    return Score(mode=mode, **{**values, **figures})


def test_changes_are_differences_and_the_speed_s_a_factor():
    ours = [
        score("linear", accuracy=0.4, acceptance_length=5.5, tokens_per_second=150.0, host_share=0.125),
        score("ar", block_length=None),
    ]
    theirs = [score("linear", block_length=8, acceptance_length=6.0, tokens_per_forward=2.001)]
    titles, rows = side_by_side_table(ours, theirs)
    assert titles == [
        "mode", "block", "accuracy", "tokens per forward", "acceptance length", "passes per block", "tokens/s",
        "time outside the engine",
    ]  # fmt: skip
    assert rows == [
        ["linear", "16", "0.400", "2.00", "5.50", "-", "150", "12.5%"],
        ["linear (against)", "8", "0.500", "2.00", "6.00", "-", "100", "10.0%"],
        ["linear (change)", "-", "-0.100", "+0.00", "-0.50", "-", "×1.50", "+2.5%"],
        ["ar", "-", "0.500", "2.00", "-", "-", "100", "10.0%"],
    ]


def test_a_pass_without_positions_has_no_figure():
    empty, some = Divergence(None, None, 0), Divergence(0.0123456, 0.875, 16)
    _, rows = comparison_table(Comparison(some, empty, {0.5: empty}, None))
    assert rows == [
        ["causal", "0.0123", "0.8750", "16"],
        ["bidirectional", "-", "-", "0"],
        ["  50% masked", "-", "-", "0"],
    ]

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt plan`` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from nld_trt import names
from nld_trt.cli import run

POINT = {
    "platform", "precision", "mode", "block_length", "users", "context", "tokens_per_second", "tokens_per_second_low",
    "tokens_per_second_high", "tokens_per_second_per_user", "bound", "provenance",
}  # fmt: skip
FORWARD = {"width", "rows", "milliseconds", "provenance"}
MEMORY = {"weights", "caches", "activations", "reserve", "total", "capacity"}


def ask(capsys, *arguments):
    """(exit status, stdout, stderr) of the command."""
    capsys.readouterr()
    status = run(["plan", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_json_has_every_number_and_where_it_is_from(capsys):
    status, out, _ = ask(capsys, "8b", "--platform", "b200", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["points"]
    assert all(set(point) >= POINT for point in found["points"])
    assert all(set(forward) >= FORWARD for forward in found["forwards"])
    assert set(found["memory"]) >= MEMORY
    assert {entry["block_length"] for entry in found["crossover"]} == {4, 8, 16, 32}
    forwards = {(forward["width"], forward["rows"]) for forward in found["forwards"]}
    linear = [point for point in found["points"] if point["mode"] == names.LINEAR]
    assert {(point["block_length"], point["users"]) for point in linear} <= forwards
    assert found["platforms"]["b200"]["values"]["bandwidth"]["source"]


def test_platforms_side_by_side(capsys):
    status, out, _ = ask(capsys, "8b", "--compare", "--precision", names.FP8, "--json")
    found = json.loads(out)
    assert status == 0
    assert {point["platform"] for point in found["points"]} == set(found["memory"])
    assert len(found["memory"]) + len(found["refused"]) == len(names.PLANNED_PLATFORMS)
    assert any("plan has no fp8 law for GB300" in text for text in found["refused"])


def test_text_says_what_fits_and_what_is_better(capsys):
    status, out, _ = ask(capsys, "14b", "--platform", "dgx-spark", "--precision", names.INT4, "--users", "1,8")
    assert status == 0
    assert out.startswith("14b, int4, trt-rtx on DGX Spark\n")
    assert "of 121.6 GB for 8 rows of 4096 tokens" in out
    assert "ar is better than blocks of 32 with " in out
    assert "the INT4 term was fitted to DGX Spark and RTX PRO 6000" in out


def test_validation_prints_its_goal(capsys):
    status, out, _ = ask(capsys, "--validate")
    assert status == 0
    assert "goal: median at most 10%: missed; no error of 30% without a reason: met" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("8b", "--platform", "b2000"), "plan has no platform 'b2000'; available: gb200"),
        (("8b", "--platform", "cpu"), "plan has no platform 'cpu'"),
        (("8b",), "plan needs a GPU"),
        ((), "plan needs a MODEL"),
        (("8b", "--compare", "--platform", "b200"), "--compare is for all platforms"),
        (("9b", "--platform", "b200"), "9b is neither a released size, a checkpoint nor an engine"),
        (("8b", "--platform", "b200", "--acceptance", "codin"), "neither a workload, a number nor a file"),
        (("8b", "--platform", "b200", "--users", "0"), "--users has 0; at least 1 user decodes"),
        (("8b", "--platform", "b200", "--users", "1;2"), "must be whole numbers with commas"),
        (("8b", "--platform", "rtx-5090", "--users", "64"), "35.6 GB too much\n  --users 15 with --max-seq-len 4096"),
        (("8b", "--platform", "gb300", "--precision", "fp8"), "plan has no fp8 law for GB300"),
        (("8b", "--compare", "--calibrate", "absent.json"), "absent.json"),
        (("8b", "--validate"), "--validate compares the laws of all platforms"),
    ],
)
def test_bad_input_is_named(capsys, arguments, message):
    status, out, err = ask(capsys, *arguments)
    assert (status, out) == (2, "")
    assert message in err


def test_nothing_slow_is_imported(root):
    """That is what makes it answer in less than half a second, with the base install only."""
    code = (
        "import sys; from nld_trt.cli import run; "
        "assert run(['plan', '8b', '--compare', '--precision', 'int4', '--json']) == 0; "
        "print(sorted({'numpy', 'onnx', 'onnxruntime', 'torch', 'rich'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, encoding="utf-8")
    assert done.stderr.strip() == "[]"

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``bench/gpu.py`` in its form for CPUs: what a GPU machine runs works before there is one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def run(root, output, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "bench/gpu.py", "-o", str(output), "--cpu", "--quick", *arguments],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True,
        encoding="utf-8", check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    output = tmp_path_factory.mktemp("gpu") / "gpu.json"
    return output, run(root, output)


def test_the_engine_is_exact_and_the_tools_run(finished):
    output, done = finished
    assert done.returncode == 0, done.stderr
    parts = json.loads(output.read_text(encoding="utf-8"))["parts"]
    assert parts["exactness"]["passed"] is True
    assert {row["mode"] for row in parts["tiny"]["sweep"]} >= {"ar", "diffusion", "linear"}
    assert parts["load"]["ar_tokens_per_second"]["beside 4 of linear"] > 0


def test_a_part_that_fails_is_said_and_the_others_run(root, tmp_path):
    """Part 5 is another module here, which fails; part 2 after it says what it lacks."""
    shadow = tmp_path / "on_gpu"
    shadow.mkdir()
    (shadow / "tiny.py").write_text("def run(settings):\n    raise ValueError('no such engine')\n", encoding="utf-8")
    (shadow / "__init__.py").write_text(f"__path__.append({str(root / 'bench' / 'on_gpu')!r})\n", encoding="utf-8")
    output = tmp_path / "gpu.json"
    code = (
        f"import sys, runpy; sys.argv = ['gpu.py', '-o', {str(output)!r}, '--cpu', '--quick', '--parts', '5,2']; "
        f"sys.path[:0] = [{str(tmp_path)!r}, {str(root / 'bench')!r}]; "
        "runpy.run_path('bench/gpu.py', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    parts = json.loads(output.read_text(encoding="utf-8"))["parts"]
    assert done.returncode == 1
    assert "ValueError: no such engine" in parts["tiny"]["failed"]
    assert "lacks" in parts["kernels"]


def test_parts_that_need_a_gpu_say_what_they_lack(finished):
    output, done = finished
    parts = json.loads(output.read_text(encoding="utf-8"))["parts"]
    assert {name for name, part in parts.items() if "lacks" in part} == {"kernels", "shapes", "peers", "breakdown"}
    assert "this machine lacks an NVIDIA GPU with PyTorch for CUDA" in done.stdout


def test_finished_parts_are_kept(root, finished):
    output, _ = finished
    before = json.loads(output.read_text(encoding="utf-8"))["parts"]["exactness"]
    again = run(root, output, "--parts", "1")
    assert f"1 exactness: kept from {output}" in again.stdout
    assert json.loads(output.read_text(encoding="utf-8"))["parts"]["exactness"] == before


def test_unknown_parts_are_refused_with_those_that_exist(root, tmp_path):
    done = run(root, tmp_path / "gpu.json", "--parts", "8")
    assert done.returncode == 2
    assert "the parts are 1, 2, 3, 4, 5, 6, 7" in done.stderr

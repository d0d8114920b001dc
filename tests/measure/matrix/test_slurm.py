# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Slurm jobs of a sweep file: what is written, and a run of them on one node."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys

import pytest

from nld_trt.cli import run as command
from nld_trt.measure.matrix.child import PROGRAM
from tests.deploy.checks import check_command_exists
from tests.measure.matrix import one_node_slurm

needs_slurm = pytest.mark.skipif(one_node_slurm.missing() is not None, reason=str(one_node_slurm.missing()))


@pytest.fixture
def emit(write, tmp_path):
    """Write the jobs of a sweep file with further keys; returns their texts by name."""

    def made(*options, **changes):
        flags = [word for option in options for word in ("--option", option)]
        arguments = ["sweep", "--config", str(write(**changes)), "-o", str(tmp_path / "results"), "--emit", "slurm"]
        assert command([*arguments, *flags]) == 0
        home = tmp_path / "results" / "slurm"
        return {path.name: path.read_text(encoding="utf-8") for path in home.iterdir()}

    return made


def settings_of(text):
    return dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", text, re.MULTILINE))


def test_a_platform_has_a_build_and_an_array_of_its_points(emit):
    texts = emit("partition=all", "h200.partition=hopper", platforms=["cpu", "h200"], users=[1, 2])
    assert settings_of(texts["points-cpu.sbatch"])["array"] == "0-3"
    hopper = settings_of(texts["points-h200.sbatch"])
    assert (hopper["array"], hopper["gres"], hopper["partition"]) == ("4-7", "gpu:1", "hopper")
    # Measurements on a CPU have the node for themselves.
    assert "exclusive" in settings_of(texts["points-cpu.sbatch"])
    assert settings_of(texts["collect.sbatch"])["partition"] == "all"
    assert set(texts) == {"submit.sh", "collect.sbatch"} | {
        f"{kind}-{platform}.sbatch" for kind in ("build", "points") for platform in ("cpu", "h200")
    }


def test_jobs_run_commands_that_exist(emit):
    for name, text in emit().items():
        if name == "submit.sh":
            continue
        words = shlex.split(text.splitlines()[-1].replace('"$SLURM_ARRAY_TASK_ID"', "0"))
        assert words[0] == "exec"
        assert tuple(words[1:4]) == PROGRAM == (sys.executable, "-m", "nld_trt")
        check_command_exists(["nld-trt", *words[4:]])


def test_scripts_are_valid_shell(emit, tmp_path):
    emit()
    for path in (tmp_path / "results" / "slurm").iterdir():
        subprocess.run(["sh", "-n", str(path)], check=True)


@pytest.mark.slow
@needs_slurm
def test_one_node_measures_every_point_and_joins_them(write, tmp_path, root, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(root))
    folder = tmp_path / "results"
    path = write(users=[1, 2])
    assert command(["sweep", "--config", str(path), "-o", str(folder), "--emit", "slurm"]) == 0
    with one_node_slurm.one_node(tmp_path / "slurm") as variables:
        subprocess.run([folder / "slurm" / "submit.sh"], env=variables, check=True)
        one_node_slurm.wait_for_jobs(variables, 240)
    outputs = {path.name: path.read_text(encoding="utf-8") for path in (folder / "slurm").glob("*.out")}
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert [(row["mode"], row["concurrency"]) for row in summary["rows"]] == [
        ("ar", 1), ("ar", 2), ("linear", 1), ("linear", 2),
    ], outputs  # fmt: skip
    assert summary["failed"] == {}
    assert sum("measured point" in text for text in outputs.values()) == 4


@pytest.mark.slow
@needs_slurm
def test_a_build_that_fails_leaves_points_that_are_named(write, tmp_path, root, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(root))
    folder = tmp_path / "results"
    path = write(models=[str(tmp_path / "absent")], modes=["ar"])
    assert command(["sweep", "--config", str(path), "-o", str(folder), "--emit", "slurm"]) == 0
    with one_node_slurm.one_node(tmp_path / "slurm") as variables:
        subprocess.run([folder / "slurm" / "submit.sh"], env=variables, check=True)
        one_node_slurm.wait_for_jobs(variables, 240)
    (told,) = [path.read_text(encoding="utf-8") for path in (folder / "slurm").glob("collect-*.out")]
    assert "1 of 1 points failed" in told
    assert "absent-cpu-fp32.tiny.ar_c1: it has not run" in told

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A sweep file at work, on a golden checkpoint."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from threading import Event, Timer

import pytest

from nld_trt.cli import run as command
from nld_trt.errors import InputError
from nld_trt.measure.matrix import engine_steps, run, workers
from nld_trt.measure.matrix.child import Child, reason_in
from nld_trt.measure.matrix.run import Matrix
from nld_trt.measure.matrix.sweep_file import SweepFile
from nld_trt.measure.matrix.workers import run_workers
from nld_trt.measure.sweep.report import COLUMNS
from tests.recorded_progress import Recorded


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def test_what_is_missing_is_built_measured_and_joined_and_a_model_that_fails_is_named(write, tmp_path, capsys):
    path, folder = write(), tmp_path / "results"
    good = SweepFile.read(path).models[0]
    path = write(models=[good, str(tmp_path / "absent")])
    assert command(["sweep", "--config", str(path), "-o", str(folder)]) == 1
    told = capsys.readouterr().err
    assert "2 of 4 points failed" in told
    assert "absent-cpu-fp32.tiny.ar_c1: nld-trt convert: exit status 2" in told
    found = summary_of(folder)
    assert [row["mode"] for row in found["rows"]] == ["ar", "linear"]
    assert {row["workload"] for row in found["rows"]} == {"tiny"}
    assert sorted(found["failed"]) == ["absent-cpu-fp32.tiny.ar_c1", "absent-cpu-fp32.tiny.linear_b4_c1"]
    # The same command again measures nothing of what is finished.
    again = Recorded()
    rows = Matrix(SweepFile.read(path), folder).run(progress=again).merged.rows
    assert rows == found["rows"]
    assert not any("build" in stage for stage in again.stages)


def test_points_run_by_themselves_and_are_joined_and_one_that_has_not_run_is_named(write, tmp_path, capsys):
    path, folder = write(scripted_acceptance="qa"), tmp_path / "results"
    sweep = ["sweep", "--config", str(path), "-o", str(folder), "--step"]
    assert command([*sweep, "build-cpu"]) == 0
    assert command([*sweep, "1"]) == 0
    capsys.readouterr()
    assert command([*sweep, "collect"]) == 1
    assert "tiny-a-cpu-fp32.tiny.ar_c1: it has not run" in capsys.readouterr().err
    (row,) = summary_of(folder)["rows"]
    assert (row["mode"], row["block_length"], row["concurrency"]) == ("linear", 4, 1)
    assert row["scripted_acceptance"].startswith("qa (")
    assert command([*sweep, "0"]) == 0
    assert command([*sweep, "collect"]) == 0
    assert len(summary_of(folder)["rows"]) == 2


class Fake:
    """In place of commands: what a child returns by the end of its log's name, and the environments of all."""

    def __init__(self, failing=()):
        self.failing, self.variables = failing, {}

    def __call__(self, arguments, log, variables=None):
        self.variables[log.stem] = variables
        why = next((f"signal 9: {name}" for name in self.failing if name in log.stem), None)
        return type("Made", (), {"run": lambda _, stop=None: why})()


def test_a_sweep_that_is_killed_has_its_missing_points_named(write, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "Child", Fake(failing=["tiny-a-cpu-fp32.tiny"]))
    found = Matrix(SweepFile.read(write()), tmp_path / "results").run()
    assert found.failed == dict.fromkeys(
        ("tiny-a-cpu-fp32.tiny.ar_c1", "tiny-a-cpu-fp32.tiny.linear_b4_c1"), "signal 9: tiny-a-cpu-fp32.tiny"
    )


def test_an_engine_of_another_machine_is_left_out_and_alone_refused(write, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "Child", Fake())
    monkeypatch.setattr(engine_steps, "present_gpus", lambda: [])
    found = Matrix(SweepFile.read(write(platforms=["cpu", "dgx-spark"], precisions=["int4_rtn"])), tmp_path / "a").run()
    assert list(found.left_out) == ["tiny-a-dgx-spark-int4_rtn"]
    assert "compute capability 12.1" in found.left_out["tiny-a-dgx-spark-int4_rtn"]
    with pytest.raises(InputError, match="can run none of the engines"):
        Matrix(SweepFile.read(write(platforms=["dgx-spark"])), tmp_path / "b").run()
    assert not (tmp_path / "b").exists()


def test_workers_have_a_gpu_each(write, tmp_path, monkeypatch):
    fake, gpus = Fake(), [object(), object()]
    monkeypatch.setattr(run, "Child", fake)
    monkeypatch.setattr(workers, "present_gpus", lambda: gpus)
    matrix = Matrix(SweepFile.read(write(users=[1, 2, 3, 4], build={"max_batch_size": 4})), tmp_path / "results")
    monkeypatch.setattr(engine_steps.EngineTarget, "is_built", True)
    run_workers(matrix)
    seen = [variables["CUDA_VISIBLE_DEVICES"] for variables in fake.variables.values() if variables]
    assert len(seen) == 8
    assert set(seen) <= {"0", "1"}
    with pytest.raises(InputError, match="3 workers were asked for, and this machine has 2 GPUs"):
        run_workers(matrix, 3)


def test_local_workers_measure_every_point(write, tmp_path, capsys):
    folder = tmp_path / "results"
    arguments = ["sweep", "--config", str(write(modes=["ar"])), "-o", str(folder), "--emit", "local"]
    assert command([*arguments, "--option", "workers=1"]) == 0
    assert [row["mode"] for row in summary_of(folder)["rows"]] == ["ar"]


def test_a_command_that_fails_says_why(tmp_path):
    log = tmp_path / "log"
    assert Child(["inspect", str(tmp_path / "absent")], log).run().startswith("exit status 2: ")
    assert reason_in(tmp_path / "no-log") is None


def test_a_command_ends_when_it_is_told_to(tmp_path, monkeypatch):
    stop = Event()
    Timer(0.5, stop.set).start()
    child = Child(["-c", "import time; time.sleep(600)"], tmp_path / "log")
    monkeypatch.setattr("nld_trt.measure.matrix.child.PROGRAM", (sys.executable,))
    assert child.run(stop).startswith("signal 15")


def test_a_command_does_not_inherit_the_flags_of_this_one(tmp_path, monkeypatch):
    monkeypatch.setenv("NLD_TRT_SWEEP_MODES", "quadratic")
    monkeypatch.setattr("nld_trt.measure.matrix.child.PROGRAM", (sys.executable,))
    code = "import os, sys; sys.exit('NLD_TRT_SWEEP_MODES' in os.environ)"
    assert Child(["-c", code], tmp_path / "log").run() is None


def test_a_dry_run_lists_points_and_commands_and_writes_nothing(write, tmp_path, capsys):
    folder = tmp_path / "results"
    assert command(["sweep", "--config", str(write()), "-o", str(folder), "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["points"] == ["tiny-a-cpu-fp32.tiny.ar_c1", "tiny-a-cpu-fp32.tiny.linear_b4_c1"]
    assert [line.split()[1] for line in found["build"]] == ["build"]
    assert not folder.exists()


def test_plots_of_an_engine_and_workload_are_in_a_folder_of_their_own(tmp_path):
    from nld_trt.measure.matrix.table import draw_each, table

    values = {**dict.fromkeys(COLUMNS), "model": "tiny", "mode": "ar", "output_tps": 5.0, "tps_per_user": 5.0}
    rows = [{**values, "concurrency": 1, "workload": workload} for workload in ("chat", "coding")]
    assert [cells[0] for cells in table(rows)[1]] == ["tiny, chat", "tiny, coding"]
    drawn = draw_each(rows, tmp_path)
    assert {Path(name).parent.as_posix() for name in drawn} == {"plots/1", "plots/2"}
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in drawn)

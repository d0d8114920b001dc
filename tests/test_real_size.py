# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``bench/real_size.py``: what it measures, which steps it repeats, and that its published figures are those in use."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import asdict, replace

import pytest
import yaml

from nld_trt import names
from nld_trt.files import read_json
from nld_trt.planning import building
from nld_trt.planning.building import build_cost
from nld_trt.planning.model import planned_model

MB = 1 << 20


@pytest.fixture(scope="module")
def script(root):
    spec = importlib.util.spec_from_file_location("real_size", root / "bench" / "real_size.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their annotations
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def usage(script):
    return script.Usage(10.0, 8.0, 1.0, 3 * MB, 2 * MB, MB, 0.5, 0)


WATCHED = """
import mmap, sys, time
memory = bytearray(b"x") * (200 << 20)
with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
    sum(pages[:: mmap.PAGESIZE])
    time.sleep(0.5)
sys.exit(3)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_anonymous_pages_and_those_of_files_are_told_apart(script, tmp_path):
    mapped = tmp_path / "file"
    mapped.write_bytes(bytes(100 * MB))
    command = [sys.executable, "-c", WATCHED, str(mapped)]
    status, usage = script.watched(command, tmp_path, stdout=tmp_path / "out", earlier=1000.0)
    assert status == 3
    assert 200 * MB < usage.peak_anonymous < 260 * MB
    assert 100 * MB <= usage.peak_of_files < 160 * MB
    assert 300 * MB < usage.peak < 400 * MB
    assert usage.seconds > 1000.5
    assert usage.disk == 0


@pytest.fixture
def ran(script, usage, tmp_path, monkeypatch):
    """Runs the steps with commands that only make their folders; returns the names of those that ran."""
    done = []

    def watched(command, folder, *, stdout, earlier, output):
        done.append(command[3])
        if output is not None:
            output.mkdir(exist_ok=True)
        return 0, replace(usage, seconds=usage.seconds + earlier)

    monkeypatch.setattr(script, "watched", watched)

    def run(size="8b", *, keep=False):
        done.clear()
        found = script.Run(tmp_path, size)
        found.run(keep=keep)
        return found, list(done)

    return run


STEPS = ["plan", "synthetic", "convert", "quantize", "build", "repo"]


def test_finished_steps_are_not_run_again_and_what_they_have_read_is_removed(ran, tmp_path):
    assert ran()[1] == STEPS
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["engine", "repository"]
    assert ran()[1] == []


def test_a_missing_result_is_made_again_from_the_last_that_is_there(ran, tmp_path):
    ran(keep=True)
    (tmp_path / "engine").rmdir()
    assert ran(keep=False)[1] == ["build", "repo"]
    (tmp_path / "engine").rmdir()
    assert ran()[1] == ["quantize", "build", "repo"]


def test_another_size_starts_again(ran):
    ran()
    assert ran("3b")[1] == STEPS


def test_a_step_that_was_interrupted_takes_its_earlier_time_too(script, ran, usage, monkeypatch):
    going = script.watched

    def interrupted(command, *arguments, **options):
        if command[3] == "quantize":
            raise KeyboardInterrupt
        return going(command, *arguments, **options)

    with monkeypatch.context() as during:
        during.setattr(script, "watched", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ran()
    found, done = ran()
    assert done == ["quantize", "build", "repo"]
    quantize = next(step for step in found.steps if step.name == "quantize")
    assert found.usage(quantize).seconds > usage.seconds
    assert found.state["interrupted"] == {}


def test_the_page_has_the_published_tables(script, root):
    result = read_json(root / "bench" / "results" / "real-size-8b.json")
    page = script.PAGE.read_text(encoding="utf-8")
    assert f"<!-- {script.SECTION} -->\n{script.markdown(result)}<!-- /{script.SECTION} -->" in page


def test_the_published_run_is_what_plan_predicts_from(script, root):
    result = read_json(root / "bench" / "results" / "real-size-8b.json")
    usage = script.Usage(**result["steps"]["build"]["usage"])
    found = build_cost(names.TRT_RTX, planned_model("8b", names.INT4).shape)
    assert found.seconds == pytest.approx(usage.processor_seconds, rel=0.01)
    assert found.peak_bytes == pytest.approx(usage.peak, rel=0.01)
    known = yaml.safe_load(building._FILE.read_text(encoding="utf-8"))
    assert all("bench/results/real-size-8b.json" in each["source"] for each in known)


def test_the_published_run_stayed_within_its_limits(script, root):
    result = read_json(root / "bench" / "results" / "real-size-8b.json")
    usages = [script.Usage(**step["usage"]) for step in result["steps"].values()]
    assert sum(usage.processor_seconds for usage in usages) <= 20 * 60
    assert max(usage.peak for usage in usages) <= 16e9
    assert asdict(usages[0]).keys() == result["steps"]["plan"]["usage"].keys()

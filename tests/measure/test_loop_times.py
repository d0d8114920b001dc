# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Timing the decode loop: what is measured, and what the report says about it."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta

import pytest
from click.testing import CliRunner

from nld_trt.cli import cli, run
from nld_trt.decode.batch import Batch
from nld_trt.errors import InputError
from nld_trt.measure import loop_times
from nld_trt.measure.loop_times import LoopTimes, measure_loop


@pytest.fixture
def session(golden_session):
    return golden_session("tiny-a")


TIMES = {"draft": 24.0, "verify": 16.0, "token": 8.0}
HOST = 2.0


class Timed:
    """A session whose draft, verify and one-token forwards take times of their own, on a clock that it turns itself.

    The host takes HOST between two forwards of the decode loop; forwards that are timed by themselves follow each other
    at once.
    """

    def __init__(self, session, monkeypatch):
        self._session = session
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        one_step = Batch.step
        monkeypatch.setattr(Batch, "step", lambda batch: self.host() or one_step(batch))

    def __getattr__(self, name):
        return getattr(self._session, name)

    def host(self):
        self.now += HOST

    def launch(self, buffers):
        kind = "token" if buffers.width == 1 else "verify" if buffers.inputs["causal"].all() else "draft"
        self._session.launch(buffers)
        self.now += TIMES[kind]


def test_every_kind_of_forward_has_its_own_time(session, monkeypatch):
    times = measure_loop(Timed(session, monkeypatch), rows=2, context=20, block_length=8, repeats=3)
    assert (times.one_token, times.draft, times.verify) == (8.0, 24.0, 16.0)
    assert times.round == 24.0 + 16.0 + 2 * HOST
    assert times.gaps == 2 * HOST
    assert times.token_round == 8.0 + HOST
    assert times.host_share == pytest.approx(2 * HOST / times.round)


def test_ideal_fraction_is_two_tokens_over_a_round():
    times = LoopTimes(1, 1, 8, 3, one_token=2.0, draft=3.0, verify=4.0, round=8.0, token_round=2.0, host_share=0.0)
    assert times.ideal_fraction == 0.5
    assert times.gaps == 1.0
    assert times.to_dict()["block_over_token"] == 2.0


def test_times_in_a_report_say_their_unit():
    times = LoopTimes(1, 1, 8, 3, one_token=2.0, draft=3.0, verify=4.0, round=8.0, token_round=2.5, host_share=0.0)
    found = {name: value for name, value in times.to_dict().items() if name.endswith("_ms")}
    assert found == {
        "one_token_ms": 2000.0, "draft_ms": 3000.0, "verify_ms": 4000.0, "round_ms": 8000.0, "gaps_ms": 1000.0,
        "token_round_ms": 2500.0,
    }  # fmt: skip
    assert times.to_dict().keys() == {
        *found, "rows", "context", "block_length", "repeats", "block_over_token", "host_share", "ideal_fraction",
    }  # fmt: skip


@pytest.mark.parametrize("part", ["loop", "kernels"])
@pytest.mark.parametrize(
    ("place", "message"), [("missing/l.json", "a folder that does not exist"), (".", "is a folder")]
)
def test_an_output_file_that_cannot_be_is_refused_before_the_work(tmp_path, capsys, part, place, message):
    arguments = ["bench", part, *(["no-engine"] if part == "loop" else []), "-o", str(tmp_path / place)]
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "opening engine" not in captured.err
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_leaves_no_output_file(engine, tmp_path, capsys):
    folder = str(engine("tiny-a").path)
    assert run(["bench", "loop", folder, "--context", "100000", "-o", str(tmp_path / "loop.json")]) == 2
    assert "nld-trt build --max-seq-len" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("alone", "said"), [(0.001, False), (0.5, True)])
def test_negative_gaps_are_printed_with_what_they_mean(engine, capsys, monkeypatch, alone, said):
    times = LoopTimes(1, 1, 8, 3, one_token=0.1, draft=alone, verify=alone, round=0.6, token_round=0.1, host_share=0.0)
    monkeypatch.setattr(loop_times, "measure_loop", lambda session, **settings: times)
    assert run(["bench", "loop", str(engine("tiny-a").path)]) == 0
    assert ("took longer when timed by themselves" in capsys.readouterr().out) == said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 9}, "--batch-size is 9.*built for 8\n.*--batch-size 8.*nld-trt build --max-batch-size 9"),
        ({"block_length": 65}, "--block-length is 65.*built for 64\n.*--block-length 64.*build --block-length 65"),
        ({"context": 500}, "after 500 take 581 tokens.*built for 512\n.*--context 431 .*build --max-seq-len 581"),
        ({"context": 1_000_000}, "built for 512\n.*--context 431 or less; nld-trt build --max-seq-len goes up to"),
        ({"context": 8, "block_length": 64}, "take 649 tokens.*\n.*a smaller --block-length.*--max-seq-len 649"),
    ],
)
def test_what_the_engine_is_too_small_for_is_named_with_the_way_out(session, change, message):
    with pytest.raises(InputError, match=message):
        measure_loop(session, **{"rows": 1, "context": 8, "block_length": 8, "repeats": 3, **change})


def test_command_writes_what_it_prints(engine, tmp_path):
    target = tmp_path / "loop.json"
    folder = str(engine("tiny-a").path)
    result = CliRunner().invoke(
        cli, ["bench", "loop", folder, "--repeats", "3", "--block-length", "8", "-o", str(target), "--json"]
    )
    assert result.exit_code == 0, result.output
    report = json.loads(target.read_text(encoding="utf-8"))
    assert json.loads(result.stdout) == report
    assert report["backend"] == "ort"
    assert report["repeats"] == 3
    assert report["ideal_fraction"] == pytest.approx(2 * report["one_token_ms"] / report["round_ms"])
    assert report["command"].startswith("nld-trt")
    assert datetime.fromisoformat(report["date"]).utcoffset() == timedelta(0)
    assert report["cpu_cores"] > 0
    assert report["clocks_before"].keys() == report["clocks_after"].keys() == {"load_average", "cpu_mhz", "gpus"}


def test_every_key_of_the_report_is_in_the_documentation(engine, capsys, root):
    assert run(["bench", "loop", str(engine("tiny-a").path), "--repeats", "3", "--block-length", "8", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    page = (root / "docs" / "measuring.md").read_text(encoding="utf-8")
    assert [key for key in [*report, *report["clocks_before"]] if f"`{key}`" not in page] == []

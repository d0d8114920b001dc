# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Measuring the cost table of an engine: which forwards, what is stored, and what a server gets."""

from __future__ import annotations

import json
import logging
import time

import pytest

from nld_trt.cli import run
from nld_trt.decode.auto.costs import CostTable
from nld_trt.decode.auto.stored import TablePlace
from nld_trt.decode.batch import Batch
from nld_trt.graph.contract import Limits
from nld_trt.measure import cost_table
from nld_trt.measure.cost_table import load_or_measure, measure_costs, origin_of, timed_rows, timed_widths

HOST = 0.5


class Timed:
    """A session whose forwards take rows * width seconds, on a clock that it turns; the host takes HOST for each."""

    def __init__(self, session, monkeypatch):
        self._session = session
        self.now = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        one_step = Batch.step

        def step(batch):
            self.now += HOST
            return one_step(batch)

        monkeypatch.setattr(Batch, "step", step)

    def __getattr__(self, name):
        return getattr(self._session, name)

    def launch(self, buffers):
        self._session.launch(buffers)
        self.now += buffers.rows * buffers.width


@pytest.fixture
def session(golden_session, monkeypatch):
    """Few repeats of few rounds are enough on a clock that does not tremble."""
    monkeypatch.setattr(cost_table, "_REPEATS", (1, 1))
    monkeypatch.setattr(cost_table, "_IN_A_ROW", 1)
    return Timed(golden_session("tiny-a"), monkeypatch)


def limits(**changes) -> Limits:
    return Limits(**{"max_batch_size": 8, "max_seq_len": 512, "max_block_length": 32, "prompt_chunk": 64, **changes})


@pytest.mark.parametrize(
    ("most", "rows"), [(1, (1,)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8)), (96, (1, 2, 4, 8, 16, 32, 64, 96))]
)
def test_rows_are_powers_of_two_up_to_the_engines(most, rows):
    assert timed_rows(limits(max_batch_size=most)) == rows


@pytest.mark.parametrize(
    ("changes", "widths"),
    [({}, (1, 4, 8, 16, 32)), ({"max_block_length": 8}, (1, 4, 8)), ({"max_seq_len": 128}, (1, 4, 8, 16))],
)
def test_widths_are_those_that_auto_chooses_from_and_the_engine_has(changes, widths):
    assert timed_widths(limits(**changes)) == widths


def test_a_point_is_the_time_of_a_forward_in_the_decode_loop(engine, session):
    table = measure_costs(session, origin_of(engine("tiny-a"), session), budget=1e9)
    assert table.widths == (1, 4, 8, 16, 32)
    found = {(point.rows, point.width): point.seconds for point in table.points}
    assert found == {(rows, width): rows * width + HOST for rows in (1, 2, 4, 8) for width in (1, 4, 8, 16, 32)}


def test_rows_whose_forwards_take_long_are_left_out(engine, session):
    table = measure_costs(session, origin_of(engine("tiny-a"), session), budget=200 * 40.0)
    assert max(point.rows for point in table.points if point.width == 8) == 8
    assert max(point.rows for point in table.points if point.width == 32) == 2
    assert table.seconds(8, 32) == pytest.approx(8 * 32 + HOST, rel=0.1)


def test_origin_says_what_was_timed_where(engine):
    folder = engine("tiny-a")
    origin = origin_of(folder, folder.open_session("ort"), command="nld-trt x")
    assert (origin.backend, origin.precision, origin.command) == ("ort", "fp32", "nld-trt x")
    assert origin.engine == TablePlace.of(folder, "ort", gpu=False).engine
    assert {"nld-trt", "python"} <= origin.versions.keys()
    assert origin.clocks["gpus"] == []


@pytest.fixture
def measured(monkeypatch):
    """Counts measurements, which are replaced by a table of their own."""
    from nld_trt.decode.auto.costs import grid

    made: list[CostTable] = []

    def measure(session, origin, **settings):
        made.append(grid((1,), (1, 8), lambda rows, width: 1.0 + len(made), origin))
        return made[-1]

    monkeypatch.setattr(cost_table, "measure_costs", measure)
    return made


def test_a_server_measures_once(engine, measured):
    folder = engine("tiny-a", fresh=True)
    session = folder.open_session("ort")
    first, second = load_or_measure(folder, session), load_or_measure(folder, session)
    assert len(measured) == 1
    assert first.seconds(1, 1) == second.seconds(1, 1) == 1.0
    assert second.origin.command == "first load"


def test_a_folder_that_cannot_be_written_is_measured_at_every_start(engine, measured, monkeypatch, caplog):
    folder = engine("tiny-a", fresh=True)
    session = folder.open_session("ort")

    def read_only(path):
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr("nld_trt.decode.auto.stored.publish_file", read_only)
    with caplog.at_level(logging.WARNING):
        table = load_or_measure(folder, session)
    assert table is measured[0]
    assert "stays in memory" in caplog.text
    assert "Read-only file system" in caplog.text
    load_or_measure(folder, session)
    assert len(measured) == 2


def test_the_command_shows_writes_and_stores_the_table(engine, measured, tmp_path, capsys):
    folder = engine("tiny-a", fresh=True)
    assert run(["bench", "loop", str(folder.path), "--table", "-o", str(tmp_path / "t.json")]) == 0
    shown = capsys.readouterr()
    assert (
        "ms of one forward, by rows and new tokens per row\nrows    1 tokens   8 tokens\n   1    1000.000" in shown.out
    )
    stored = TablePlace.of(folder, "ort", gpu=False)
    assert f"stored in {stored.path}" in shown.err
    assert CostTable.read(tmp_path / "t.json") == stored.load() == measured[0]
    assert json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))["schema_version"] == 1


@pytest.mark.parametrize(
    "option", [["--context", "7"], ["--batch-size", "2"], ["--block-length", "8"], ["--repeats", "4"]]
)
def test_settings_of_one_timing_are_refused_beside_a_table(engine, capsys, option):
    assert run(["bench", "loop", str(engine("tiny-a").path), "--table", *option]) == 2
    assert f"{option[0]} and --table are different things" in capsys.readouterr().err

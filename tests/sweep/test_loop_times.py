# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Timing the decode loop: what is measured, and what the report says about it."""

from __future__ import annotations

import json
import time

import pytest
from click.testing import CliRunner

from nld_trt.cli import cli
from nld_trt.errors import InputError
from nld_trt.sweep.loop_times import LoopTimes, measure_loop


@pytest.fixture
def session(golden_session):
    return golden_session("tiny-a")


TIMES = {"draft": 0.024, "verify": 0.016, "token": 0.008}


class Slow:
    """A session whose draft, verify and one-token forwards take times of their own."""

    def __init__(self, session):
        self._session = session

    def __getattr__(self, name):
        return getattr(self._session, name)

    def launch(self, buffers):
        kind = "token" if buffers.width == 1 else "verify" if buffers.inputs["causal"].all() else "draft"
        self._session.launch(buffers)
        time.sleep(TIMES[kind])

    def execute(self, buffers):
        self.launch(buffers)


def test_every_kind_of_forward_has_its_own_time(session):
    times = measure_loop(Slow(session), rows=2, context=20, block_length=8, repeats=3)
    assert 0.008 < times.one_token < 0.014
    assert 0.024 < times.draft < 0.034
    assert 0.016 < times.verify < 0.024
    assert times.round > 0.040
    assert times.token_round > 0.008
    assert 0 < times.host_share < 0.5


def test_ideal_fraction_is_two_tokens_over_a_round():
    times = LoopTimes(1, 1, 8, 3, one_token=2.0, draft=3.0, verify=4.0, round=8.0, token_round=2.0, host_share=0.0)
    assert times.ideal_fraction == 0.5
    assert times.gaps == 1.0
    assert times.to_dict()["block_over_token"] == 2.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 9}, "9 rows.*built for 8 rows"),
        ({"block_length": 65}, "blocks of 65.*blocks up to 64"),
        ({"context": 500}, r"behind 500 take \d+ tokens.*built for 512"),
    ],
)
def test_what_the_engine_is_too_small_for_is_named(session, change, message):
    with pytest.raises(InputError, match=message):
        measure_loop(session, **{"rows": 1, "context": 8, "block_length": 8, "repeats": 3, **change})


def test_command_writes_what_it_prints(engine, tmp_path):
    target = tmp_path / "loop.json"
    folder = str(engine("tiny-a").path)
    result = CliRunner().invoke(
        cli, ["bench", "loop", folder, "--repeats", "3", "--block-length", "8", "-o", str(target), "--json"]
    )
    assert result.exit_code == 0, result.output
    report = json.loads(target.read_text())
    assert json.loads(result.stdout) == report
    assert report["backend"] == "ort"
    assert report["repeats"] == 3
    assert report["ideal_fraction"] == pytest.approx(2 * report["one_token"] / report["round"])

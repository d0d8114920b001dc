# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Traces and closed loops give requests when they are due."""

from __future__ import annotations

import pytest

from nld_trt import names
from nld_trt.errors import InputError
from nld_trt.measure.simulate.trace import BUILT_IN, Arrival, Phase, Recorded, Users, load_of


def test_built_in_traces_are_those_that_users_may_name():
    assert tuple(BUILT_IN) == names.TRACES


def test_recorded_requests_come_once_and_in_time():
    load = Recorded([Arrival(0.0, 1, 2), Arrival(1.0, 3, 4), Arrival(5.0, 5, 6)])
    assert [each.output_tokens for each in load.due(1.5, 0)] == [2, 4]
    assert load.due(2.0, 0) == []
    assert load.next_after(2.0) == 5.0
    assert [each.output_tokens for each in load.due(5.0, 0)] == [6]
    assert load.next_after(5.0) is None


def test_users_send_the_next_request_when_one_is_answered():
    load = Users([Phase(4, 10.0), Phase(1, 10.0)], output_tokens=100)
    assert [each.output_tokens for each in load.due(0.0, 0)] == [25, 50, 75, 100]
    assert load.due(1.0, 4) == []
    assert [each.output_tokens for each in load.due(2.0, 3)] == [100]
    assert load.due(11.0, 3) == []
    assert load.end == 20.0


def test_nobody_there_waits_for_the_next_phase():
    load = Users([Phase(0, 3.0), Phase(2, 1.0)])
    assert load.due(0.0, 0) == []
    assert load.next_after(0.0) == 3.0
    assert len(load.due(3.0, 0)) == 2


CSV = "arrival_s,input_tokens,output_tokens\n2.5,10,20\n0.5,30,40\n"
JSONL = """{"arrival_s": 2.5, "input_tokens": 10, "output_tokens": 20}

{"arrival_s": 0.5, "input_tokens": 30, "output_tokens": 40}
"""


@pytest.mark.parametrize(("name", "text"), [("t.csv", CSV), ("t.jsonl", JSONL)])
def test_files_are_read_in_the_order_of_time(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert list(load_of(str(path)).due(9.0, 0)) == [Arrival(0.5, 30, 40), Arrival(2.5, 10, 20)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "arrival_s,input_tokens\n1,2\n", "line 2 lacks output_tokens"),
        ("t.csv", "arrival_s,input_tokens,output_tokens\n1,2,x\n", "line 2: invalid literal"),
        ("t.csv", "arrival_s,input_tokens,output_tokens\n-1,2,3\n", "line 2 is at second -1"),
        ("t.csv", "arrival_s,input_tokens,output_tokens\n", "no arrivals"),
        ("t.jsonl", "[1]\n", "line 1 is no JSON object"),
        ("t.jsonl", "{\n", "line 1 is not JSON"),
        ("t.jsonl", '{"arrival_s": 1, "input_tokens": 1, "output_tokens": 0}', "output tokens 1 or more"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_of(str(path))


def test_an_unknown_trace_names_those_that_are_built_in():
    with pytest.raises(InputError, match="1-128-1, doubling"):
        load_of("1-256-1")

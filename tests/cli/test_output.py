# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Every kind of output in every mode: data on stdout, talk on stderr."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.text import Text

from nld_trt.cli._output import Output
from nld_trt.progress import SILENT, Progress

MODES = {"human": Output(), "json": Output(json=True), "quiet": Output(level=-1), "verbose": Output(level=1)}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch) -> Terminal:
    """Make stderr a terminal. A function and no fixture: pytest sets its own stderr again between setup and test."""
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def plain(text: str) -> str:
    """Without escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.parametrize(
    ("mode", "shown"),
    [
        ("human", {"note", "warn"}),
        ("json", {"note", "warn"}),
        ("quiet", {"warn"}),
        ("verbose", {"detail", "note", "warn"}),
    ],
)
def test_talk_goes_to_stderr(capsys, mode: str, shown: set[str]) -> None:
    output = MODES[mode]
    output.detail("a detail [x]")
    output.note("a note [x]")
    output.warn("a warn [x]")
    out, err = capsys.readouterr()
    assert out == ""
    assert set(re.findall(r"a (\w+) \[x\]", err)) == shown


@pytest.mark.parametrize("mode", ["human", "quiet", "verbose"])
def test_result_is_text_on_stdout(capsys, mode: str) -> None:
    MODES[mode].result({"tokens": 3}, "3 tokens")
    assert capsys.readouterr() == ("3 tokens\n", "")


def test_result_without_text_lists_the_data(capsys) -> None:
    MODES["human"].result({"tokens": 3, "mode": "ar"})
    assert capsys.readouterr().out == "tokens: 3\nmode: ar\n"


def test_result_draws_what_rich_can_draw(capsys) -> None:
    MODES["human"].result({}, Text("drawn"))
    assert capsys.readouterr().out == "drawn\n"


def test_json_is_one_object_and_nothing_else(capsys) -> None:
    output = MODES["json"]
    output.stream("text")
    output.table(["a"], [[1]])
    output.result({"path": Path("a"), "count": np.int64(3), "row": np.arange(2), "é": None}, "text")
    out = capsys.readouterr().out
    assert json.loads(out) == {"path": "a", "count": 3, "row": [0, 1], "é": None}
    assert out.startswith('{\n  "path"')
    assert "é" in out


@pytest.mark.parametrize("value", [object(), float("nan")])
def test_json_refuses_what_json_cannot_say(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        MODES["json"].result({"value": value})


def test_stream_is_unchanged_and_at_once(monkeypatch) -> None:
    flushed: list[str] = []
    stdout = io.StringIO()
    monkeypatch.setattr(stdout, "flush", lambda: flushed.append(stdout.getvalue()))
    monkeypatch.setattr(sys, "stdout", stdout)
    MODES["human"].stream("a[b]")
    MODES["human"].stream("\n")
    assert flushed == ["a[b]", "a[b]\n"]


def test_table_in_a_pipe_is_not_folded(capsys) -> None:
    MODES["human"].table(["name", "tokens/s"], [["[x]" + "y" * 200, 1.5], ["none", None]], title="Rates")
    out, err = capsys.readouterr()
    assert "[x]" + "y" * 200 in out
    assert "Rates" in out
    assert err == ""


@pytest.mark.parametrize("mode", ["human", "json"])
def test_stage_is_two_lines_when_stderr_is_no_terminal(capsys, mode: str) -> None:
    with MODES[mode].stage("compiling") as stage:
        stage.detail("layer 3")
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"compiling \.\.\.\ncompiling done in \d+\.\d s\n", err)


def test_stage_says_nothing_when_quiet(capsys) -> None:
    with MODES["quiet"].stage("compiling") as stage:
        stage.detail("layer 3")
    assert capsys.readouterr() == ("", "")


def test_stage_details_are_shown_when_verbose(capsys) -> None:
    with MODES["verbose"].stage("compiling") as stage:
        stage.detail("layer 3")
    assert "compiling: layer 3\n" in capsys.readouterr().err


def test_failed_stage_says_so_and_raises(capsys) -> None:
    with pytest.raises(ValueError, match="no"), MODES["human"].stage("compiling"):
        raise ValueError("no")
    assert re.search(r"compiling failed after \d+\.\d s\n$", capsys.readouterr().err)


def test_stage_on_a_terminal_spins_and_leaves_one_line(monkeypatch, capsys) -> None:
    stream = terminal(monkeypatch)
    output = Output()
    with output.stage("compiling") as stage:
        stage.detail("layer 3 [x]")
        output.note("a note [x]")
        output.result({}, "data")
    text = plain(stream.getvalue())
    assert "\x1b[" in stream.getvalue()
    assert "a note [x]" in text
    assert re.search(r"compiling done in \d+\.\d s\n$", text)
    assert capsys.readouterr().out == "data\n"


def test_stages_nest_on_a_terminal(monkeypatch) -> None:
    stream = terminal(monkeypatch)
    output = Output()
    with output.stage("outer"), output.stage("inner"):
        pass
    done = re.findall(r"(\w+) done in", plain(stream.getvalue()))
    assert done == ["inner", "outer"]


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_plain_terminal_gets_lines(monkeypatch, term: str) -> None:
    stream = terminal(monkeypatch)
    monkeypatch.setenv("TERM", term)
    with Output().stage("compiling"):
        pass
    assert "\x1b" not in stream.getvalue()


def test_json_has_no_spinner(monkeypatch) -> None:
    stream = terminal(monkeypatch)
    with MODES["json"].stage("compiling"):
        pass
    assert "\x1b" not in stream.getvalue()


def test_no_color_has_no_colours(monkeypatch) -> None:
    stream = terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    with Output().stage("compiling"):
        pass
    assert not re.search(r"\x1b\[(3|4|9)\d", stream.getvalue())


def test_a_new_run_forgets_json() -> None:
    output = Output(json=True, level=-1)
    output.configure(level=0)
    assert (output.json, output.level) == (False, 0)


def advance_by_quarters(output: Output) -> None:
    with output.stage("decoding", total=8, unit="prompts") as stage:
        stage.advance(2, earlier=True)
        for _ in range(3):
            stage.advance(2)
        if output._display is not None:
            output._display.refresh()


def test_work_of_known_size_is_a_line_for_each_tenth_that_this_run_did(capsys) -> None:
    advance_by_quarters(Output())
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(r"\d+\.?\d* s\b", "T", line) for line in lines] == [
        "decoding ...",
        "decoding: 4 of 8 prompts, T each, T left",
        "decoding: 6 of 8 prompts, T each, T left",
        "decoding done in T",
    ]


def test_work_of_known_size_is_a_bar_on_a_terminal(monkeypatch) -> None:
    stream = terminal(monkeypatch)
    advance_by_quarters(Output())
    assert "8 of 8 prompts" in plain(stream.getvalue())
    assert re.search(r"decoding done in \d+\.\d s\n$", plain(stream.getvalue()))


def test_work_of_known_size_is_said_to_have_stopped(capsys) -> None:
    with pytest.raises(KeyboardInterrupt), Output().stage("decoding", total=8, unit="prompts"):
        raise KeyboardInterrupt
    assert re.search(r"decoding stopped after \d+\.\d s\n$", capsys.readouterr().err)


@pytest.mark.parametrize("sizes", [(None, 8), (8, None)], ids=["bar in spinner", "spinner in bar"])
def test_stages_of_either_kind_nest(monkeypatch, sizes) -> None:
    stream = terminal(monkeypatch)
    output = Output()
    outer, inner = sizes
    with output.stage("outer", total=outer, unit="parts") as first:
        first.advance(1)
        with output.stage("inner", total=inner, unit="parts") as second:
            second.advance(1)
            output.note("between")
    assert re.findall(r"(\w+) done in", plain(stream.getvalue())) == ["inner", "outer"]
    assert "between" in plain(stream.getvalue())


@pytest.mark.parametrize("mode", MODES)
def test_output_is_a_progress(mode: str) -> None:
    progress: Progress = MODES[mode]
    with progress.stage("decoding", total=2, unit="prompts") as stage:
        stage.detail("a")
        stage.advance(1, earlier=True)
    progress.note("a")
    progress.warn("a")


def test_silence_shows_nothing(capsys) -> None:
    with SILENT.stage("decoding", total=2, unit="prompts") as stage:
        stage.detail("a")
        stage.advance(1)
    SILENT.note("a")
    SILENT.warn("a")
    assert capsys.readouterr() == ("", "")

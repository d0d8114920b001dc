# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Commands that are told to end while they work: the exit status, and what is left."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SIGNALS = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "SIGTERM"), signal.SIGHUP: (129, "SIGHUP")}

# The command stops where its output is half-written, says so on stdout, and waits there for a line on stdin.
WAITING = """
import shutil, sys
from nld_trt.cli import main
from nld_trt.model import convert

def wait(text):
    print(text, flush=True)
    sys.stdin.readline()

copy = convert.copy_adapter
how = sys.argv[1]

def half(adapter, folder):
    if how == "slow":
        shutil.rmtree = slowly
    wait("half")
    return copy(adapter, folder)

remove = shutil.rmtree

def slowly(*arguments, **options):
    wait("cleaning")
    remove(*arguments, **options)

convert.copy_adapter = half
main(sys.argv[2:])
"""


@pytest.fixture
def start(root: Path, tmp_path: Path):
    """Starts convert into ``tmp_path / "out"``; returns the process when half of the output is there."""
    started: list[subprocess.Popen[str]] = []

    def begin(how: str = "", **options) -> subprocess.Popen[str]:
        source = root / "examples" / "nld-tiny"
        arguments = [sys.executable, "-c", WAITING, how, "convert", str(source), "-o", str(tmp_path / "out")]
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
            encoding="utf-8",
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        assert len(list(tmp_path.glob(".out.partial-*"))) == 1
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_leaves_nothing_and_gives_its_status(start, tmp_path: Path, number: int) -> None:
    process = start()
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    status, said = SIGNALS[number]
    assert process.returncode == status
    assert said in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_signal_that_was_ignored_at_the_start_is_ignored(start, tmp_path: Path) -> None:
    """As nohup does with SIGHUP."""
    process = start(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    process.communicate("go on\n", timeout=120)
    assert process.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_second_signal_does_not_stop_the_cleaning(start, tmp_path: Path, first: int, second: int) -> None:
    process = start("slow")
    process.send_signal(first)
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(second)
    process.communicate("go on\n", timeout=120)
    assert process.returncode in {SIGNALS[number][0] for number in (first, second)}
    assert list(tmp_path.iterdir()) == []


def test_lost_terminal_is_a_signal_like_any_other(start, tmp_path: Path) -> None:
    """The terminal takes stderr along, so that even the message about it fails."""
    ours, theirs = pty.openpty()
    try:
        process = start(preexec_fn=lambda: os.dup2(theirs, 2))
    finally:
        os.close(theirs)
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=120)
    assert process.returncode == 129
    assert list(tmp_path.iterdir()) == []


def test_killed_command_is_cleaned_up_after_by_the_next(start, tmp_path: Path) -> None:
    process = start()
    process.kill()
    process.wait()
    (left,) = tmp_path.glob(".out.partial-*")
    following = start()
    _, err = following.communicate("go on\n", timeout=120)
    assert following.returncode == 0
    assert f"nld-trt: warning: removed {left}" in err
    assert f"left by process {process.pid} (nld-trt " in err
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_second_command_is_refused_while_the_first_works(start, tmp_path: Path, root: Path) -> None:
    process = start()
    arguments = ["synthetic", "3b", "-o", str(tmp_path / "out")]
    second = subprocess.run(
        [sys.executable, "-m", "nld_trt", *arguments], capture_output=True, text=True, cwd=root, encoding="utf-8"
    )
    assert second.returncode == 2
    assert f"process: {process.pid} on" in second.stderr
    process.communicate("go on\n", timeout=120)
    assert process.returncode == 0
    assert (tmp_path / "out" / "checkpoint.json").is_file()

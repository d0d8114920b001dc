# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Finding AIPerf, and running it with its own libraries."""

from __future__ import annotations

import os
import sys
import threading
import time

import pytest

from nld_trt.errors import InputError
from nld_trt.measure.aiperf.program import AiPerf, environment


def program(path, code: str):
    path.write_text(f"#!{sys.executable}\n{code}", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_without_aiperf_the_message_has_the_command_that_installs_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(InputError, match="which is not installed") as error:
        AiPerf.find()
    assert "aiperf/bin/pip install 'aiperf>=0.13'" in error.value.fix


def test_it_is_found_on_the_path(tmp_path, monkeypatch) -> None:
    path = program(tmp_path / "aiperf", "print('0.14.1')")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert AiPerf.find() == AiPerf(path, "0.14.1")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('0.12.9')", "is AIPerf 0.12.9; 0.13 or newer is needed"),
        ("raise SystemExit('no module named aiperf')", "--version failed\n.*no module"),
        ("print('hello')", "--version failed"),
    ],
)
def test_one_that_cannot_be_used_is_refused(tmp_path, code, message) -> None:
    with pytest.raises(InputError, match=message):
        AiPerf.find(program(tmp_path / "aiperf", code))


def test_a_path_that_is_no_file_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path} is not a file"):
        AiPerf.find(tmp_path)


def test_it_does_not_get_this_pythons_libraries() -> None:
    found = environment({"PYTHONPATH": "here", "HF_HUB_OFFLINE": "1", "HOME": "home", "no_proxy": "host"})
    assert found.keys() == {"HOME", "no_proxy", "NO_PROXY"}
    assert found["no_proxy"] == "host,localhost,127.0.0.1,::1"


def test_its_output_and_status_are_kept(tmp_path) -> None:
    aiperf = AiPerf(program(tmp_path / "aiperf", "import sys\nprint(sys.argv[1:])\nsys.exit(3)"), "0.13.0")
    assert aiperf.run(["profile", "--ui", "none"], tmp_path / "log") == 3
    assert (tmp_path / "log").read_text(encoding="utf-8") == "['profile', '--ui', 'none']\n"


def test_what_it_started_ends_with_an_interrupted_sweep(tmp_path) -> None:
    child = "import time, pathlib, os; pathlib.Path('child').write_text(str(os.getpid())); time.sleep(60)"
    code = f"import os, subprocess, sys\nos.chdir({str(tmp_path)!r})\nsubprocess.run([sys.executable, '-c', {child!r}])"
    aiperf = AiPerf(program(tmp_path / "aiperf", code), "0.13.0")

    def interrupt() -> None:
        while not ((tmp_path / "child").is_file() and (tmp_path / "child").read_text(encoding="utf-8")):
            time.sleep(0.01)
        os.kill(os.getpid(), 2)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        aiperf.run([], tmp_path / "log")
    thread.join()
    pid = int((tmp_path / "child").read_text(encoding="utf-8"))
    deadline = time.monotonic() + 30
    while _runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

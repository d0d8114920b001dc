# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A folder of an interrupted command is told from a complete one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nld_trt.cli import run
from nld_trt.files.unfinished import unfinished

# A convert that is killed when its folder has config.json.
_KILLED = """
import os, signal, sys
from nld_trt.files import publish_folder
from pathlib import Path
with publish_folder(Path(sys.argv[1]), marker="manifest.json") as work:
    (work / "config.json").write_text("{}", encoding="utf-8")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_folder_of_a_killed_command_is_no_checkpoint(tmp_path, capsys) -> None:
    target = tmp_path / "out"
    subprocess.run([sys.executable, "-c", _KILLED, str(target)], check=False)
    (left,) = [entry for entry in tmp_path.iterdir() if entry.is_dir()]
    assert run(["inspect", str(left)]) == 2
    said = capsys.readouterr().err
    assert f"becomes {target}, and is not complete" in said
    assert "release checkpoint" not in said


def test_folder_into_which_a_result_was_moved_is_unfinished(tmp_path) -> None:
    (tmp_path / f".{tmp_path.name}.partial-00c0ffee").mkdir()
    assert unfinished(tmp_path) == "a folder into which a command was moving its result"


@pytest.mark.parametrize("name", ["out", ".out", ".hidden.folder", "out.partial-00c0ffee"])
def test_other_folders_are_complete(tmp_path, name) -> None:
    (tmp_path / name / ".cache").mkdir(parents=True)
    assert unfinished(tmp_path / name) is None

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Temporary folders of servers, and what killed ones left."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from nld_trt.errors import InputError
from nld_trt.serving.triton.server_folder import server_folder

HOLDER = """
import sys
from nld_trt.serving.triton.server_folder import server_folder
with server_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def held(temporary: Path):
    """(process, the folder that it holds), old enough to be judged."""
    arguments = [sys.executable, "-c", HOLDER]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        os.utime(folder, (1, 1))
        yield process, folder
        process.kill()


def test_folder_goes_with_its_server(temporary: Path) -> None:
    with server_folder() as folder:
        assert folder.parent == temporary
    assert list(temporary.iterdir()) == []


def test_folder_of_a_killed_server_goes_with_the_next(temporary: Path, held, caplog) -> None:
    process, folder = held
    process.kill()
    process.wait()
    with server_folder():
        assert not folder.exists()
    assert f"removed {folder}" in caplog.text


def test_folder_of_a_running_server_stays(held) -> None:
    _, folder = held
    with server_folder():
        assert folder.exists()


def test_folder_that_was_just_made_stays(temporary: Path) -> None:
    (temporary / "nld-trt-serve-new").mkdir()
    with server_folder():
        assert (temporary / "nld-trt-serve-new").exists()


def test_missing_temporary_folder_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(InputError, match="No usable temporary directory") as caught, server_folder():
        pytest.fail("the body ran")
    assert "TMPDIR=" in str(caught.value.fix)

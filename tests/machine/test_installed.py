# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What is installed is found where it is, and is None where it is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nld_trt.machine import installed


def test_tritonserver_on_path_comes_first(monkeypatch) -> None:
    monkeypatch.setattr(installed.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert installed.tritonserver() == Path("/usr/bin/tritonserver")


def test_tritonserver_is_found_in_the_wheel(monkeypatch, tmp_path) -> None:
    server = tmp_path / "pytriton" / "tritonserver" / "bin" / "tritonserver"
    server.parent.mkdir(parents=True)
    server.touch()
    (tmp_path / "pytriton" / "__init__.py").touch()
    monkeypatch.setattr(installed.shutil, "which", lambda name: None)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pytriton", raising=False)
    assert installed.tritonserver() == server


def test_no_tritonserver_is_none(monkeypatch) -> None:
    monkeypatch.setattr(installed.shutil, "which", lambda name: None)
    monkeypatch.setattr(installed.importlib.util, "find_spec", lambda name: None)
    assert installed.tritonserver() is None


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("2.13.0+cpu", (2, 13, 0)), ("1.7.1.116", (1, 7, 1)), ("12.560", (12, 560)), ("11.0.0rc1", (11, 0, 0))],
)
def test_release_numbers_order_versions(version: str, numbers: tuple[int, ...]) -> None:
    assert installed.release(version) == numbers

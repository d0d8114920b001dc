# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Facts are found where they are, are None where they are not, and finding them never fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nld_trt.machine import environment


def test_facts_are_plain_data() -> None:
    facts = environment.facts()
    assert json.loads(json.dumps(facts))["schema_version"] == environment.SCHEMA_VERSION
    assert facts["cpu_cores"] >= 1
    assert facts["cpu"]
    assert "CPUExecutionProvider" in facts["ort_providers"]
    assert facts["packages"]["numpy"] == environment.package_version("numpy")


def test_broken_onnxruntime_has_no_providers(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert environment.collect().ort_providers == ()


def test_tritonserver_on_path_comes_first(monkeypatch) -> None:
    monkeypatch.setattr(environment.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert environment.tritonserver() == Path("/usr/bin/tritonserver")


def test_tritonserver_is_found_in_the_wheel(monkeypatch, tmp_path) -> None:
    server = tmp_path / "pytriton" / "tritonserver" / "bin" / "tritonserver"
    server.parent.mkdir(parents=True)
    server.touch()
    (tmp_path / "pytriton" / "__init__.py").touch()
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pytriton", raising=False)
    assert environment.tritonserver() == server


def test_no_tritonserver_is_none(monkeypatch) -> None:
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)
    assert environment.tritonserver() is None


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("2.13.0+cpu", (2, 13, 0)), ("1.7.1.116", (1, 7, 1)), ("12.560", (12, 560)), ("11.0.0rc1", (11, 0, 0))],
)
def test_release_numbers_order_versions(version: str, numbers: tuple[int, ...]) -> None:
    assert environment.release(version) == numbers


@pytest.mark.parametrize(
    ("gpu", "devices", "expected"),
    [
        (False, [], ("CPU (2 cores)", 0)),
        (False, ["A"], ("CPU (2 cores)", 0)),
        (True, ["A"], ("A", 1)),
        (True, ["A", "B"], ("A", 1)),
        (True, [], ("unknown GPU", 1)),
    ],
)
def test_device_is_what_the_engine_computes_on(gpu, devices, expected) -> None:
    facts = {"cpu": "CPU", "cpu_cores": 2, "gpus": [{"name": name} for name in devices]}
    assert environment.device_of(facts, gpu=gpu) == expected


def test_device_says_that_the_environment_limits_its_threads(monkeypatch) -> None:
    monkeypatch.setenv("NLD_TRT_THREADS", "3")
    assert environment.device_of(environment.facts(), gpu=False)[0].endswith(" cores, NLD_TRT_THREADS=3)")


def test_collecting_imports_no_heavy_package() -> None:
    code = (
        "import sys\nfrom nld_trt.machine import environment\nenvironment.collect()\n"
        "print({'torch', 'tensorrt_rtx', 'modelopt', 'tritonclient', 'matplotlib', 'pytriton'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8")
    assert done.stdout.strip() == "set()"

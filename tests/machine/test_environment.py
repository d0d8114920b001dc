# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Facts are found where they are, are None where they are not, and finding them never fails."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from nld_trt.machine import environment, installed


def test_facts_are_plain_data() -> None:
    facts = environment.facts()
    assert json.loads(json.dumps(facts))["schema_version"] == environment.SCHEMA_VERSION
    assert facts["cpu_cores"] >= 1
    assert facts["cpu"]
    assert "CPUExecutionProvider" in facts["ort_providers"]
    assert facts["packages"]["numpy"] == installed.package_version("numpy")


def test_broken_onnxruntime_has_no_providers(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert environment.collect().ort_providers == ()


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

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Facts are found where they are, are None where they are not, and finding them never fails."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

from nld_trt.machine import environment
from nld_trt.machine.environment import Gpu


class NVMLError(Exception):
    pass


def nvml(**changes: object) -> types.ModuleType:
    """A binding of NVML with one GPU. An exception as a change is raised by that function."""
    answers: dict[str, object] = {
        "nvmlInit": None,
        "nvmlShutdown": None,
        "nvmlSystemGetDriverVersion": "580.95.05",
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetHandleByIndex": object(),
        "nvmlDeviceGetName": "NVIDIA RTX PRO 6000",
        "nvmlDeviceGetCudaComputeCapability": (12, 0),
        "nvmlDeviceGetMemoryInfo": types.SimpleNamespace(total=96 * 2**30),
        "nvmlDeviceGetEnforcedPowerLimit": 600_000,
        "nvmlDeviceGetClockInfo": 180,
        "nvmlDeviceGetMaxClockInfo": 3090,
        **changes,
    }

    def answering(answer: object):
        def function(*_arguments: object) -> object:
            if isinstance(answer, Exception):
                raise answer
            return answer

        return function

    module = types.ModuleType("pynvml")
    module.NVML_CLOCK_SM = 1
    for name, answer in answers.items():
        setattr(module, name, answering(answer))
    return module


@pytest.fixture
def gpus(monkeypatch):
    """What is reported with this binding of NVML (None: not installed) and this output of nvidia-smi."""

    def report(binding: types.ModuleType | None, smi: str = ""):
        monkeypatch.setitem(sys.modules, "pynvml", binding)
        monkeypatch.setattr(environment, "_run", lambda *command: smi if command[0] == "nvidia-smi" else "")
        found = environment.collect()
        return found.gpu_driver, found.gpus

    return report


def test_facts_are_plain_data() -> None:
    facts = environment.facts()
    assert json.loads(json.dumps(facts))["schema_version"] == environment.SCHEMA_VERSION
    assert facts["cpu_cores"] >= 1
    assert facts["cpu"]
    assert "CPUExecutionProvider" in facts["ort_providers"]
    assert facts["packages"]["numpy"] == environment.package_version("numpy")


def test_gpu_is_described_by_nvml(gpus) -> None:
    driver, found = gpus(nvml())
    assert driver == "580.95.05"
    assert found == (Gpu("NVIDIA RTX PRO 6000", "12.0", 96 * 2**30, 180, 3090, 600.0),)


def test_bytes_of_older_bindings_are_text(gpus) -> None:
    driver, found = gpus(nvml(nvmlDeviceGetName=b"H100", nvmlSystemGetDriverVersion=b"550.1"))
    assert (driver, found[0].name) == ("550.1", "H100")


def test_shared_memory_is_none(gpus) -> None:
    """DGX Spark reports no memory of its own, and other boards leave out other things."""
    refusals = {f"nvmlDeviceGet{name}": NVMLError() for name in ("MemoryInfo", "EnforcedPowerLimit", "ClockInfo")}
    _, found = gpus(nvml(nvmlDeviceGetName="NVIDIA GB10", nvmlDeviceGetCudaComputeCapability=(12, 1), **refusals))
    assert found == (Gpu("NVIDIA GB10", "12.1", None, None, 3090, None),)


@pytest.mark.parametrize("failure", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"])
def test_silent_driver_means_no_gpu(gpus, failure: str) -> None:
    _, found = gpus(nvml(**{failure: NVMLError()}))
    assert found == ()


def test_nvidia_smi_stands_in_for_nvml(gpus) -> None:
    smi = "580.1, NVIDIA A, 12.0, 97887, 180, 3090, 600.00\n580.1, NVIDIA GB10, 12.1, [N/A], [N/A], 3003, [N/A]\n"
    driver, found = gpus(None, smi)
    assert driver == "580.1"
    assert found == (
        Gpu("NVIDIA A", "12.0", 97887 * 2**20, 180, 3090, 600.0),
        Gpu("NVIDIA GB10", "12.1", None, None, 3003, None),
    )


@pytest.mark.parametrize("smi", ["", "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"])
def test_nvidia_smi_without_a_driver_means_no_gpu(gpus, smi: str) -> None:
    assert gpus(None, smi) == (None, ())


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
    ("gpu", "devices", "visible", "expected"),
    [
        (False, [], None, ("CPU (2 cores)", 0)),
        (False, ["A"], None, ("CPU (2 cores)", 0)),
        (True, ["A"], None, ("A", 1)),
        (True, ["A", "B"], None, ("A", 1)),
        (True, ["A", "B"], "1,0", ("B", 1)),
        (True, ["A", "B"], "GPU-5f1b", ("A", 1)),
        (True, [], None, ("unknown GPU", 1)),
    ],
)
def test_device_is_what_the_engine_computes_on(gpu, devices, visible, expected) -> None:
    facts = {"cpu": "CPU", "cpu_cores": 2, "gpus": [{"name": n} for n in devices], "cuda_visible_devices": visible}
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

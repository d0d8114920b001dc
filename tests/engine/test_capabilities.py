# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The verdicts on machines that are described."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from nld_trt import names
from nld_trt.engine.backend import BACKENDS
from nld_trt.engine.capabilities import capabilities
from nld_trt.machine import doctor, installed
from nld_trt.machine.doctor import AnyGpu, Package, judge
from nld_trt.machine.environment import Environment
from nld_trt.machine.gpu import Gpu

CAPABILITIES = capabilities()
NAMED = {capability.name: capability for capability in CAPABILITIES}
NEEDED = {need.name: need for capability in CAPABILITIES for need in capability.needs if isinstance(need, Package)}


def gpu(capability: str | None, name: str = "GPU") -> Gpu:
    return Gpu(name, capability, 96 * 2**30, 1000, 2400, 600.0)


def machine(**changes: object) -> Environment:
    """One that can do everything, with ``changes``."""
    everything = Environment(
        schema_version=1,
        nld_trt="0.1.0",
        python="3.11.7",
        os="Linux",
        machine="x86_64",
        cpu="CPU",
        cpu_cores=2,
        memory_bytes=2**34,
        packages={need.name: need.minimum for need in NEEDED.values()},
        ort_providers=("CPUExecutionProvider",),
        gpu_driver="580.0",
        gpus=(gpu("12.0", "RTX PRO 6000"),),
        cuda_visible_devices=None,
        tritonserver="/opt/tritonserver",
        docker=None,
    )
    return dataclasses.replace(everything, **changes)  # type: ignore[arg-type]


def packages(**versions: str | None) -> dict[str, str]:
    changed = dict(machine().packages) | {name.replace("_", "-"): version for name, version in versions.items()}
    return {name: version for name, version in changed.items() if version is not None}


@pytest.mark.parametrize("name", NAMED)
def test_machine_with_everything_can_do_everything(name: str) -> None:
    verdict = judge(NAMED[name], machine())
    assert (verdict.state, verdict.fixes) == ("ok", ())


@pytest.mark.parametrize(
    ("name", "changes", "state", "finding", "fix"),
    [
        ("client", {"packages": {}}, "missing", "tritonclient is not installed", 'pip install "nld-trt[serve]"'),
        ("convert", {"packages": packages(tokenizers=None)}, "missing", "tokenizers", "--upgrade nld-trt"),
        (
            "build-trt-rtx",
            {"packages": packages(tensorrt_rtx="1.2.0.54")},
            "too old",
            "tensorrt-rtx 1.2.0.54 is older than 1.7",
            'pip install --upgrade "nld-trt[rtx]"',
        ),
        (
            "serve",
            {"packages": packages(numpy="2.3.1")},
            "too new",
            "numpy 2.3.1 is not older than 2",
            'pip install "numpy<2"',
        ),
        ("serve", {"tritonserver": None}, "missing", "no tritonserver", 'pip install "nld-trt[serve]"'),
        ("run-ort", {"ort_providers": ()}, "missing", "cannot be imported", "--force-reinstall onnxruntime"),
        ("run-trt-rtx", {"gpus": ()}, "missing", "no NVIDIA GPU", "an NVIDIA GPU of compute capability 8.6"),
        ("run-trt-rtx", {"gpus": (gpu("9.0", "H100"),)}, "missing", "no such GPU: H100 (9.0)", "use a machine with"),
        (
            "run-torch",
            {"packages": packages(torch="2.13.0+cpu")},
            "missing",
            "torch 2.13.0+cpu is a build for CPUs, and this machine has RTX PRO 6000",
            "Install a build of PyTorch with CUDA",
        ),
        ("build-trt", {"gpus": (gpu("7.5"),)}, "missing", "no such GPU", "10.0 (GB200, B200)"),
        ("gpu-telemetry", {"gpus": ()}, "missing", "no NVIDIA GPU", "use a machine with an NVIDIA GPU"),
    ],
)
def test_what_is_wrong_is_named_with_its_fix(name, changes, state, finding, fix) -> None:
    verdict = judge(NAMED[name], machine(**changes))
    assert verdict.state == state
    assert finding in verdict.findings[0]
    assert fix in verdict.fixes[0]


def test_building_for_rtx_needs_no_gpu() -> None:
    assert judge(NAMED["build-trt-rtx"], machine(gpus=(), gpu_driver=None)).state == "ok"


def test_pytorch_for_cpus_is_enough_where_there_is_no_gpu() -> None:
    found = machine(gpus=(), gpu_driver=None, packages=packages(torch="2.13.0+cpu"))
    assert judge(NAMED["run-torch"], found).state == "ok"


def test_second_gpu_counts() -> None:
    assert judge(NAMED["run-trt-rtx"], machine(gpus=(gpu("9.0"), gpu("12.1")))).state == "ok"


def test_worst_finding_decides_and_same_fixes_are_given_once() -> None:
    verdict = judge(NAMED["quantize"], machine(packages=packages(torch="2.1", datasets=None, requests=None)))
    assert verdict.state == "missing"
    assert verdict.fixes == ('pip install --upgrade "nld-trt[quantize]"', 'pip install "nld-trt[quantize]"')


def test_minimum_versions_and_extras_are_those_of_the_package(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {None: project["dependencies"], **project["optional-dependencies"]}
    for need in (need for capability in CAPABILITIES for need in capability.needs if isinstance(need, Package)):
        declared = {re.sub(r"\[.*?\]|;.*| ", "", line) for line in [*extras[None], *extras[need.extra]]}
        assert f"{need.name}>={need.minimum}" in declared
        assert need.below is None or f"{need.name}<{need.below}" in declared


def test_every_version_that_is_needed_is_collected() -> None:
    assert set(NEEDED) <= set(installed.PACKAGES)


def test_names_are_those_that_the_command_line_shows() -> None:
    assert tuple(NAMED) == names.CAPABILITIES


@pytest.mark.parametrize("traits", BACKENDS.values(), ids=BACKENDS)
def test_a_backend_needs_a_gpu_to_run_where_it_computes_on_one(traits) -> None:
    assert any(isinstance(need, AnyGpu) for need in traits.run_needs) == (
        traits.device == "gpu" and traits.cpu_precision is None
    )
    assert bool(traits.plugin_needs) == traits.takes_plugins


@pytest.mark.parametrize(
    ("wanted", "fix"),
    [
        ({}, "an NVIDIA GPU"),
        ({"9.0": "9.0 (H)"}, "an NVIDIA GPU of compute capability 9.0 (H)"),
        ({"8.6": "8.6", "8.9": "8.9", "9.0": "9.0 (H)"}, "an NVIDIA GPU of compute capability 8.6, 8.9 or 9.0 (H)"),
    ],
)
def test_gpus_that_would_do_are_listed(wanted, fix) -> None:
    assert AnyGpu(wanted).check(machine(gpus=())).fix == f"use a machine with {fix}"


def test_states_are_ordered_from_good_to_bad() -> None:
    assert doctor.STATES == ("ok", "too old", "too new", "missing")

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Doctor's verdicts for machines that are described, and its report of this one."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from pathlib import Path

import pytest

from nld_trt.cli import doctor, run
from nld_trt.cli.doctor import CAPABILITIES, Package, judge
from nld_trt.machine import environment, installed
from nld_trt.machine.environment import Environment, Gpu

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
        ("build-trt", {"gpus": (gpu("7.5"),)}, "missing", "no such GPU", "10.0 (GB200)"),
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


def test_second_gpu_counts() -> None:
    assert judge(NAMED["run-trt-rtx"], machine(gpus=(gpu("9.0"), gpu("12.1")))).state == "ok"


def test_worst_finding_decides_and_same_fixes_are_given_once() -> None:
    verdict = judge(NAMED["quantize"], machine(packages=packages(torch="2.1", datasets=None, requests=None)))
    assert verdict.state == "missing"
    assert verdict.fixes == ('pip install --upgrade "nld-trt[quantize]"', 'pip install "nld-trt[quantize]"')


@pytest.fixture
def no_gpu(monkeypatch) -> None:
    monkeypatch.setattr(environment, "collect", lambda: machine(gpus=()))


@pytest.mark.usefixtures("no_gpu")
def test_report_is_a_line_for_each_capability(capsys) -> None:
    assert run(["doctor"]) == 0
    out, err = capsys.readouterr()
    assert re.findall(r"^(?:ok|missing|too old|too new) +([a-z-]+)", out, re.MULTILINE) == [*NAMED]
    assert err == ""


@pytest.mark.usefixtures("no_gpu")
def test_json_holds_environment_and_verdicts(capsys) -> None:
    assert run(["doctor", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["environment"]["cpu"] == "CPU"
    states = {verdict["name"]: verdict["state"] for verdict in data["capabilities"]}
    assert states["build-trt-rtx"] == "ok"
    assert states["run-trt-rtx"] == "missing"


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("wanted", "status"),
    [(["build-ort"], 0), (["run-trt"], 1), (["build-ort", "run-trt"], 1), (["build-trt-rtx", "client"], 0)],
)
def test_asking_for_a_capability_gives_the_status(capsys, wanted: list[str], status: int) -> None:
    arguments = [part for name in wanted for part in ("--for", name)]
    assert run(["doctor", *arguments]) == status
    listed = re.findall(r"^(?:ok|missing) +([a-z-]+)", capsys.readouterr().out, re.MULTILINE)
    assert set(listed) == set(wanted)


def test_unknown_capability_lists_the_known(capsys) -> None:
    assert run(["doctor", "--for", "flying"]) == 2
    assert "build-trt-rtx" in capsys.readouterr().err


def test_this_machine_has_a_report(capsys) -> None:
    assert run(["doctor", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert len(data["capabilities"]) == len(CAPABILITIES)
    states = {verdict["name"]: verdict["state"] for verdict in data["capabilities"]}
    assert (states["convert"], states["build-ort"], states["run-ort"]) == ("ok", "ok", "ok")


def test_minimum_versions_and_extras_are_those_of_the_package(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {None: project["dependencies"], **project["optional-dependencies"]}
    for need in (need for capability in CAPABILITIES for need in capability.needs if isinstance(need, Package)):
        declared = {re.sub(r"\[.*?\]|;.*| ", "", line) for line in [*extras[None], *extras[need.extra]]}
        assert f"{need.name}>={need.minimum}" in declared
        assert need.below is None or f"{need.name}<{need.below}" in declared


def test_every_version_that_is_needed_is_collected() -> None:
    assert set(NEEDED) <= set(installed.PACKAGES)


def test_states_are_ordered_from_good_to_bad() -> None:
    assert doctor.STATES == ("ok", "too old", "too new", "missing")

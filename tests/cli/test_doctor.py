# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Doctor's report, of a machine that is described and of this one."""

from __future__ import annotations

import json
import re

import pytest

from nld_trt import names
from nld_trt.cli import run
from nld_trt.machine import environment
from tests.engine.test_capabilities import machine


@pytest.fixture
def no_gpu(monkeypatch) -> None:
    monkeypatch.setattr(environment, "collect", lambda: machine(gpus=()))


@pytest.mark.usefixtures("no_gpu")
def test_report_is_a_line_for_each_capability(capsys) -> None:
    assert run(["doctor"]) == 0
    out, err = capsys.readouterr()
    assert re.findall(r"^(?:ok|missing|too old|too new) +([a-z-]+)", out, re.MULTILINE) == [*names.CAPABILITIES]
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
    assert len(data["capabilities"]) == len(names.CAPABILITIES)
    states = {verdict["name"]: verdict["state"] for verdict in data["capabilities"]}
    assert (states["convert"], states["build-ort"], states["run-ort"]) == ("ok", "ok", "ok")

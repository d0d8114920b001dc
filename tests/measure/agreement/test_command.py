# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt check-server``: what it prints, and its exit status."""

from __future__ import annotations

import json

import pytest

from nld_trt.cli import run
from tests.measure.agreement.conftest import Peer


@pytest.fixture
def check(engine, codec, serve, capsys):
    folder = engine("nld-tiny")

    def call(*options: str, **faults) -> tuple[int, str, str]:
        url = serve(Peer(folder.open_session("ort", debug=True), codec, **faults))
        few = ["--samples", "1", "--max-new-tokens", "4"]
        status = run(["-q", "check-server", url, "--engine", str(folder.path), *few, *options])
        return (status, *capsys.readouterr())

    return call


def test_agreement_is_status_0(check, tmp_path) -> None:
    status, out, _ = check("--json", "-o", str(tmp_path / "found.json"))
    found = json.loads(out)
    assert (status, found["agrees"], found["model"], found["form"]) == (0, True, "peer", "prompts as token ids")
    assert json.loads((tmp_path / "found.json").read_text(encoding="utf-8")) == found


def test_difference_is_status_1_after_the_table(check) -> None:
    status, out, err = check(takes=(), thinks=True)
    assert status == 1
    assert "first difference" in out
    assert "nats below" in out
    assert "chat template, weights or positions" in err


def test_what_cannot_be_used_is_status_2(check, golden, capsys, tmp_path) -> None:
    assert check("--tie", "-1")[0] == 2
    assert check("--checkpoint", str(golden("tiny-a").folder))[0] == 2
    assert run(["check-server", "localhost:1", "--engine", str(tmp_path)]) == 2
    assert "is not an engine folder" in capsys.readouterr().err

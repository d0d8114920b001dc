# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Every golden decode case through the ``torch`` engine on the CPU, token for token."""

from __future__ import annotations

import json

import pytest

from nld_trt.cli import run
from nld_trt.decode.batch import Batch
from nld_trt.decode.jsonl import run_lines
from tests.decode.test_goldens import NAMES, differences, golden_cases, request_line


@pytest.mark.parametrize("name", NAMES)
def test_every_case_matches_through_the_command(goldens, torch_engine, tmp_path, name):
    cases = golden_cases(goldens, name)
    assert len(cases) >= 140
    asked, answers = tmp_path / "requests.jsonl", tmp_path / "results.jsonl"
    asked.write_text("\n".join(map(request_line, cases)), encoding="utf-8")
    words = ["generate", torch_engine(name).path, "--backend", "torch", "--input", asked, "-o", answers]
    assert run([str(word) for word in words]) == 0
    results = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    assert differences(cases, results) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_case_matches_alone(goldens, torch_session, name):
    """Every fifth of them: alone, a row has other shapes than in a batch of eight."""
    cases = golden_cases(goldens, name)[::5]
    batch = Batch(torch_session(name), max_rows=1)
    assert differences(cases, list(run_lines(map(request_line, cases), batch))) == []

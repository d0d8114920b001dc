# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Every golden decode case through the batch form, token for token."""

from __future__ import annotations

import pytest

from nld_trt.decode.batch import Batch
from nld_trt.decode.jsonl import run_lines
from tests.golden_cases import NAMES, differences, golden_cases, request_line


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rows", [1, 8], ids=["alone", "batched"])
def test_every_case_matches_token_for_token(goldens, golden_session, name, rows):
    cases = golden_cases(goldens, name)
    batch = Batch(golden_session(name), max_rows=rows)
    assert len(cases) >= 140
    assert differences(cases, list(run_lines(map(request_line, cases), batch))) == []


@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_that_is_off_is_caught(goldens, golden_session, name):
    cases = [case for case in golden_cases(goldens, name) if case["mode"] == "linear_spec_lora"]
    lines = [request_line(case).replace('"lora": true', '"lora": false') for case in cases]
    results = list(run_lines(lines, Batch(golden_session(name))))
    telling = [case["id"] for case in cases if case["accepted"] != case["accepted_without_adapter"]]
    assert telling
    assert set(telling) <= set(differences(cases, results))


class KeepsDraftKeys:
    """A session with a defect: after every verify pass the block's bidirectional K/V end up in the cache."""

    def __init__(self, session):
        self.session = session

    def __getattr__(self, name):
        return getattr(self.session, name)

    def launch(self, step):
        self.session.launch(step)
        if step.window > 1 and step.inputs["causal"].all():
            verified = {name: array.copy() for name, array in step.outputs.items()}
            step.inputs["causal"][:] = False
            self.session.launch(step)
            for name, array in verified.items():
                step.outputs[name][...] = array


@pytest.mark.parametrize("name", NAMES)
def test_draft_keys_left_in_the_cache_are_caught(goldens, golden_session, name):
    cases = [case for case in golden_cases(goldens, name) if case["mode"].startswith("linear")]
    results = list(run_lines(map(request_line, cases), Batch(KeepsDraftKeys(golden_session(name)), max_rows=1)))
    assert differences(cases, results)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The golden decode cases as requests, and what of a result differs from the reference."""

from __future__ import annotations

import json

GROUPS = ("core", "thinking_budget", "derived")
NAMES = ("tiny-a", "tiny-b")
_PARAMETERS = (
    "max_new_tokens",
    "block_length",
    "threshold",
    "eos_token_id",
    "max_thinking_tokens",
    "end_think_token_id",
)


def golden_cases(goldens, name):
    cases = json.loads((goldens / name / "cases.json").read_text(encoding="utf-8"))["cases"]
    return [case for case in cases if case["group"] in GROUPS]


def golden_prompts(goldens, name):
    """The prompts of all cases of a model, each once, in a fixed order."""
    cases = json.loads((goldens / name / "cases.json").read_text(encoding="utf-8"))["cases"]
    return sorted({tuple(case["prompt_ids"]) for case in cases})


def request_line(case):
    parameters = {key: case["params"][key] for key in _PARAMETERS if key in case["params"]}
    mode = {"linear_spec": "linear", "linear_spec_lora": "linear"}.get(case["mode"], case["mode"])
    values = {"id": case["id"], "prompt_ids": case["prompt_ids"], "mode": mode, "lora": case["mode"].endswith("lora")}
    return json.dumps(values | parameters)


def differences(cases, results):
    """Ids of cases whose tokens, forward count, acceptance or denoise passes differ from the reference."""
    wrong = []
    for case, result in zip(cases, results, strict=True):
        expected = {"output_ids": case.get("output_ids_truncated", case["output_ids"])}
        # No reference says how many forwards quadratic takes.
        if case["nfe"] is not None:
            expected["nfe"] = case["nfe"]
        if "accepted" in case:
            expected["accepted"] = case["accepted"]
        if "blocks" in case:
            expected["denoise_passes"] = [block["denoise_passes"] for block in case["blocks"]]
        if any(result.get(key) != value for key, value in expected.items()):
            wrong.append(case["id"])
    return wrong

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The batch form: order, errors, fields."""

from __future__ import annotations

import json

import pytest

from nld_trt.decode.batch import Decoder
from nld_trt.decode.jsonl import run_lines

BAD_LINES = {
    "no json": ("{", "not JSON"),
    "no object": ("[1]", "line 1 is no JSON object"),
    "no prompt": ('{"id": 1}', "prompt"),
    "two prompts": ('{"prompt": "a", "prompt_ids": [1]}', "either prompt"),
    "text without tokenizer": ('{"prompt": "a"}', "no tokenizer"),
    "unknown field": ('{"prompt_ids": [1], "max_tokens": 4}', "max_tokens"),
    "wrong type": ('{"prompt_ids": [1], "max_new_tokens": "4"}', "max_new_tokens"),
    "bool for a number": ('{"prompt_ids": [1], "max_new_tokens": true}', "max_new_tokens"),
    "temperature as text": (
        '{"prompt_ids": [1], "temperature": "0.5"}',
        "temperature is '0.5'; it must be a number",
    ),
    "top_k with a fraction": ('{"prompt_ids": [1], "top_k": 2.5}', "top_k is 2.5; it must be a whole number"),
    "top_p as bool": ('{"prompt_ids": [1], "top_p": true}', "top_p is True; it must be a"),
    "min_p as list": ('{"prompt_ids": [1], "min_p": [0.1]}', "min_p is [0.1]; it must be a"),
    "seed with a fraction": ('{"prompt_ids": [1], "seed": 1.0}', "seed is 1.0; it must be a whole number"),
    "acceptance as number": ('{"prompt_ids": [1], "acceptance": 1}', "acceptance is 1; it must be a text"),
    "no number": ('{"prompt_ids": [1], "temperature": NaN}', "temperature is nan"),
    "id that no one could read": ('{"id": NaN, "prompt_ids": [1]}', "id is nan, which is no number in JSON"),
    "beyond every number": ('{"prompt_ids": [1], "temperature": 1' + "0" * 400 + "}", "temperature is 1000"),
    "filter in diffusion": ('{"prompt_ids": [1], "mode": "diffusion", "top_p": 0.5}', "top_p is 0.5; diffusion"),
    "unknown mode": ('{"prompt_ids": [1], "mode": "fast"}', "fast"),
    "no text": (b'{"prompt": "\xff"}', "not Unicode"),
    "stop without tokenizer": ('{"prompt_ids": [1], "stop": ["a"]}', "no tokenizer"),
    "too long": ('{"prompt_ids": [1], "max_new_tokens": 100000}', "100001"),
}


def run(session, lines):
    return list(run_lines(lines, Decoder(session)))


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_line_gives_an_error_and_the_run_goes_on(golden_session, case):
    line, message = BAD_LINES[case]
    good = json.dumps({"id": "good", "prompt_ids": [1, 73], "max_new_tokens": 3, "eos_token_id": -1})
    first, second = run(golden_session("tiny-a"), [line, good])
    assert message in first["error"]
    assert len(second["output_ids"]) == 3


def test_results_keep_the_order_of_the_requests(golden_session):
    lengths = [30, 2, 17, 1, 9]
    lines = [json.dumps({"id": n, "prompt_ids": [1, 73], "max_new_tokens": n, "eos_token_id": -1}) for n in lengths]
    assert [result["id"] for result in run(golden_session("tiny-a"), lines)] == lengths


@pytest.mark.parametrize(
    ("mode", "extra"), [("ar", set()), ("linear", {"accepted"}), ("diffusion", {"denoise_passes"})]
)
def test_result_has_the_documented_fields(golden_session, mode, extra):
    line = json.dumps({"id": 1, "prompt_ids": [1, 73], "mode": mode, "max_new_tokens": 8})
    (result,) = run(golden_session("tiny-a"), [line])
    assert set(result) == {"id", "output_ids", "finish_reason", "nfe", "cache_len"} | extra


def test_sampled_line_reports_its_seed_and_repeats_with_it(golden_session):
    line = {"prompt_ids": [1, 73], "max_new_tokens": 20, "eos_token_id": -1, "temperature": 1, "top_k": 50,
            "top_p": 0.95, "min_p": 0.01, "acceptance": "match"}  # fmt: skip
    session = golden_session("tiny-a")
    (first,) = run(session, [json.dumps(line)])
    (again,) = run(session, [json.dumps({**line, "seed": first["seed"]})])
    assert again == first

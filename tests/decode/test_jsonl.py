# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The batch form: order, errors, fields."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nld_trt.decode.batch import Batch
from nld_trt.decode.jsonl import BadLine, read_lines, run_lines
from nld_trt.errors import InputError
from nld_trt.model.text.codec import Codec

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
    "5,000 digits": ('{"prompt_ids": [1], "max_new_tokens": 1' + "0" * 4999 + "}", "a whole number of 5000 digits"),
    "5,000 digits as an id": ('{"id": 1' + "0" * 4999 + ', "prompt_ids": [1]}', "a whole number of 5000 digits"),
    "5,000 digits among ids": ('{"prompt_ids": [1' + "0" * 4999 + "]}", "a whole number of 5000 digits"),
    "999 digits among ids": ('{"prompt_ids": [1' + "0" * 998 + "]}", "1000"),
    "deep nesting": ('{"prompt_ids": ' + "[" * 100_000 + "]" * 100_000 + "}", "line 1 is nested more than 100 deep"),
    "nesting below Python's limit": ('{"messages": ' + "[" * 500 + "]" * 500 + "}", "line 1 is nested more than 100"),
    "infinity": ('{"prompt_ids": [1], "temperature": 1e999}', "temperature is inf"),
    "infinite id": ('{"id": 1e999, "prompt_ids": [1]}', "id is inf, which is no number in JSON"),
    "infinity in an id": ('{"id": [[1e999]], "prompt_ids": [1]}', "id holds inf, which is no number in JSON"),
    "infinite threshold": ('{"prompt_ids": [1], "mode": "diffusion", "threshold": -1e999}', "threshold is -inf"),
    "field twice": ('{"prompt_ids": [1], "prompt_ids": [2]}', "has 'prompt_ids' twice"),
    "NUL byte": (b'{"prompt": "\0"}', "not JSON"),
    "NUL bytes": (b"\0\0\0\0", "not JSON"),
    "UTF-16": ('{"prompt": "a"}'.encode("utf-16"), "not Unicode"),
    "surrogate in a stop string": ('{"prompt_ids": [1], "stop": ["\\ud800"]}', "stop has text that is not Unicode"),
    "messages without tokenizer": ('{"messages": [{"role": "user", "content": "a"}]}', "no tokenizer: give prompt_ids"),
    "a long name": (json.dumps({"n" * 10**6: 1}), "unknown field 'nnnnnnnnnnnnnnnnnnnnnnnnnnnnn...; known"),
    "a long mode": (json.dumps({"prompt_ids": [1], "mode": "m" * 10**6}), "mode is 'mmmmmmmmmmmmmmmmmmmmmmmmmmmmm...;"),
    "mode as list": ('{"prompt_ids": [1], "mode": ["ar"]}', "mode is ['ar']; it must be a text"),
    "too long": ('{"prompt_ids": [1], "max_new_tokens": 100000}', "100001"),
}


def run(session, lines):
    return list(run_lines(lines, Batch(session)))


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_line_gives_an_error_and_the_run_goes_on(golden_session, case):
    line, message = BAD_LINES[case]
    good = json.dumps({"id": "good", "prompt_ids": [1, 73], "max_new_tokens": 3, "eos_token_id": -1})
    first, second = run(golden_session("tiny-a"), [line, good])
    assert message in first["error"]
    assert len(second["output_ids"]) == 3


@pytest.mark.parametrize("fault", ['"n": 1' + "0" * 5000, '"a": 1, "a": 2'], ids=["digits", "twice"])
def test_a_line_that_is_refused_as_a_whole_keeps_its_id(golden_session, fault):
    (result,) = run(golden_session("tiny-a"), ['{"id": "seven", ' + fault + "}"])
    assert result["id"] == "seven"


def test_a_byte_order_mark_before_the_first_line_is_skipped(golden_session):
    line = b'\xef\xbb\xbf{"id": 1, "prompt_ids": [1, 73], "max_new_tokens": 1}'
    assert "error" not in run(golden_session("tiny-a"), [line])[0]


def test_an_empty_stop_string_is_none(text_codec):
    (_, request), (_, without) = read_lines(
        ['{"prompt_ids": [1], "stop": ["", "x", ""]}', '{"prompt_ids": [1], "stop": [""]}'], text_codec
    )
    assert (request.stop, without.stop) == (("x",), ())


TEXTS = st.text(max_size=4) | st.sampled_from(["\ud800", "linear", "ar", "reject"])
NUMBERS = st.integers() | st.floats() | st.just(10**400)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = (
    "id", "prompt", "prompt_ids", "messages", "tools", "chat_template_kwargs", "system", "raw", "mode", "lora",
    "max_new_tokens", "block_length", "threshold", "eos_token_id", "stop", "max_thinking_tokens", "end_think_token_id",
    "temperature", "top_k", "top_p", "min_p", "seed", "acceptance", "ensemble", "keep_markers", "unknown",
)  # fmt: skip


@pytest.fixture(scope="module")
def text_codec(root):
    return Codec.open(root / "examples" / "nld-tiny")


@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5), st.binary(max_size=30), st.booleans())
def test_any_line_gives_a_request_or_an_error(golden_session, text_codec, values, noise, plain):
    # Prompts of their own, because few that are drawn get as far as the other fields.
    whole = {"prompt_ids": [1]} if plain else {"prompt": "a"}
    lines = [json.dumps(values), json.dumps({**whole, **values}), noise.replace(b"\n", b"")]
    for parsed in read_lines(lines, text_codec):
        if isinstance(parsed, BadLine):
            json.dumps(parsed.request_id, allow_nan=False)
            assert parsed.error
            continue
        request_id, request = parsed
        json.dumps(request_id, allow_nan=False)
        with suppress(InputError):
            request.resolved(golden_session("tiny-a").info)


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

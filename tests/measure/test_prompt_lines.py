# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Prompts files in each of the formats, and what is refused in them."""

from __future__ import annotations

import json

import pytest

from nld_trt.errors import InputError
from nld_trt.measure.prompt_lines import read_prompt_lines
from nld_trt.measure.questions import questions_of
from nld_trt.model.text.codec import Codec

ID = "0123456789abcdef0123456789abcdef"
FIRST, SECOND = {"role": "user", "content": "Add 2 and 3."}, {"role": "user", "content": "Now add 4."}
ROW = {"question_id": ID, "category": "math", "messages": [FIRST, SECOND]}


def read(*lines: object):
    return read_prompt_lines(json.dumps(line) for line in lines)


def test_aiperfs_name_for_a_prompt_is_understood() -> None:
    (line,) = read({"text": "Add 2 and 3.", "id": "sum"})
    assert (line.request_id, line.request["prompt"], line.conversation) == ("sum", "Add 2 and 3.", None)


def test_a_speed_bench_row_is_a_question_of_its_category() -> None:
    (line,) = read(ROW)
    assert (line.request_id, line.family) == (ID, "math")
    assert line.request == {"messages": [FIRST]}
    assert line.conversation is not None
    assert list(line.conversation.messages) == [FIRST, SECOND]


def test_the_first_turn_has_the_system_message_before_it() -> None:
    system = {"role": "system", "content": "Be brief."}
    (line,) = read({**ROW, "messages": [system, FIRST, SECOND]})
    assert line.request == {"messages": [system, FIRST]}


def test_the_formats_give_the_same_prompt(engine) -> None:
    codec = Codec.open(engine("nld-tiny").path)
    lines = [*read({"prompt": "Add 2 and 3."}, {"text": "Add 2 and 3."}), *read(ROW)]
    assert len({question.prompt_ids for question in questions_of(lines, codec)}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question_id": "7"}, "question_id is '7'; SPEED-Bench's have 32 characters"),
        ({"category": None}, "category is None"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "user"}]}, r"messages\[0\] has no text 'content'"),
        ({"messages": ["hello"]}, r"messages\[0\] has no text 'role'"),
        (
            {"messages": [{"role": "user", "content": "FULL BENCHMARK DATA SHOULD BE FETCHED FROM THE SOURCE"}]},
            "placeholder",
        ),
    ],
)
def test_a_row_that_is_not_speed_benchs_is_named(change, message) -> None:
    with pytest.raises(InputError, match=f"line 2 of the prompts file cannot be used: .*{message}"):
        read(ROW, {**ROW, **change})


def test_speed_bench_is_not_mixed_with_other_prompts() -> None:
    with pytest.raises(InputError, match=r"line 2 of the prompts file is one of SPEED-Bench, and line 1 is not"):
        read({"prompt": "Hello"}, ROW, {"prompt": "Hello"})


def test_a_line_that_is_no_object_is_named() -> None:
    with pytest.raises(InputError, match=r"line 1 of the prompts file cannot be used: it is no JSON object"):
        read([1])

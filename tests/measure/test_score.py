# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Reading prompts files, and what an evaluation refuses before it decodes."""

from __future__ import annotations

import json

import pytest

from nld_trt.decode.batch import Batch
from nld_trt.errors import InputError
from nld_trt.measure.questions import Question, read_questions
from nld_trt.measure.score import evaluate, requests_for
from nld_trt.measure.variant import VARIANTS
from nld_trt.model.text.codec import Codec

BAD_LINES = {
    "no JSON": ("{", "line 2"),
    "no object": ("[1]", "line 2.*no JSON object"),
    "no prompt": ("{}", "line 2.*prompt"),
    "text without tokenizer": ('{"prompt": "a"}', "line 2.*no tokenizer"),
    "ids as text": ('{"prompt_ids": "12"}', "line 2.*token ids"),
    "ids that are no whole numbers": ('{"prompt_ids": [1.5]}', "line 2.*token ids"),
    "answer is a number": ('{"prompt_ids": [1], "answer": 42}', "line 2.*answer is 42"),
    "family is a list": ('{"prompt_ids": [1], "family": ["a"]}', "line 2.*family"),
    "no text": (b"\xff\n", "line 2"),
    "5,000 digits": ('{"id": 1' + "0" * 4999 + ', "prompt_ids": [1]}', "line 2 .*a whole number of 5000 digits"),
    "deep nesting": ("[" * 100_000 + "]" * 100_000, "line 2 .*nested more than 100 deep"),
    "name twice": ('{"prompt_ids": [1], "prompt_ids": [2]}', "line 2 .*'prompt_ids' twice"),
    "NUL byte": (b'{"prompt_ids": [1], "family": "\0"}', "line 2 .*not JSON"),
    "UTF-16": ('{"prompt_ids": [1]}'.encode("utf-16"), "line 2 .*not Unicode"),
    "no messages": ('{"messages": []}', "line 2.*no tokenizer"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_line_is_refused_with_its_number(case):
    line, message = BAD_LINES[case]
    with pytest.raises(InputError, match=message):
        read_questions(['{"prompt_ids": [1]}', line], None)


TEXT_LINES = {
    "surrogate": ({"prompt": "\ud800"}, "line 2.*prompt has text that is not Unicode"),
    "number as a prompt": ({"prompt": 5}, "line 2.*prompt is 5, which is no text"),
    "message without a role": ({"messages": [{"content": "a"}]}, r"line 2.*messages\[0\].role is missing"),
    "NaN in a message": ({"messages": [{"role": "user", "x": float("nan")}]}, r"line 2.*messages\[0\] has nan"),
}


@pytest.mark.parametrize("case", TEXT_LINES)
def test_a_prompt_that_cannot_be_rendered_is_refused_with_its_line(root, case):
    values, message = TEXT_LINES[case]
    with pytest.raises(InputError, match=message):
        read_questions(['{"prompt": "a"}', json.dumps(values)], Codec.open(root / "examples" / "nld-tiny"))


def test_a_question_may_be_a_conversation(root):
    codec = Codec.open(root / "examples" / "nld-tiny")
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    (question,) = read_questions([json.dumps({"messages": turns, "answer": "d"})], codec)
    assert (question.prompt_ids, question.answer) == (codec.encode_chat(turns), "d")


def test_file_of_blank_lines_is_refused():
    with pytest.raises(InputError, match="empty"):
        read_questions(["\n", " "], None)


def test_a_prompt_that_does_not_fit_is_refused_before_any_is_decoded(golden_session):
    batch = Batch(golden_session("tiny-a"))
    questions = [Question("1", (1, 73), None, None), Question("2", (1,) * 600, None, None)]
    with pytest.raises(InputError, match="600"):
        evaluate(batch, questions, VARIANTS["ar"], max_new_tokens=4, batch_size=1)
    assert batch.steps == 0


def test_quadratic_passes_that_are_too_long_are_refused_with_the_flag_that_leaves_them_out(golden_session):
    info = golden_session("tiny-a").info
    drafts = info.limits.max_quadratic_length + 1
    with pytest.raises(InputError, match=f"has {drafts}.*quadratic passes of up to {drafts - 1}") as error:
        requests_for([Question("1", (1, 73), None, None)], VARIANTS["quadratic"], info, max_new_tokens=4,
                     block_length=drafts)  # fmt: skip
    assert "leave quadratic out with --modes" in error.value.fix


def test_without_a_tokenizer_there_is_no_accuracy(golden_session):
    questions = read_questions([json.dumps({"prompt_ids": [1, 73], "answer": "a"})], None)
    score = evaluate(Batch(golden_session("tiny-a")), questions, VARIANTS["ar"], max_new_tokens=4, batch_size=1)
    assert score.accuracy is None

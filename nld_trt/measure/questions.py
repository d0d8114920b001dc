# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The prompts file of a measurement: prompts, with expected answers where there are some."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nld_trt.errors import InputError, shortened
from nld_trt.files.json_text import JsonError, parse_json
from nld_trt.model.text.codec import Codec
from nld_trt.model.text.prompt import parse_prompt


@dataclass(frozen=True)
class Question:
    """One prompt of a measurement. A question without an answer counts for speed only."""

    request_id: str
    prompt_ids: tuple[int, ...]
    answer: str | None
    family: str | None


def read_questions(lines: Iterable[str | bytes], codec: Codec | None) -> list[Question]:
    """Questions from JSONL lines: a prompt as in a request file, and optionally ``answer``, ``id``, ``family``.

    Raises:
        InputError: a line is no question, or there is no line.
    """
    questions = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values = parse_json(line)
            if not isinstance(values, dict):
                raise InputError("it is no JSON object")
            answer, family = values.get("answer"), values.get("family")
            for name, value in (("answer", answer), ("family", family)):
                if not isinstance(value, str | None):
                    raise InputError(f"{name} is {shortened(repr(value))}, which is no text")
            questions.append(Question(str(values.get("id", number)), parse_prompt(values, codec), answer, family))
        except JsonError as error:
            raise InputError(f"line {number} of the prompts file {error.what}") from error
        except InputError as error:
            raise InputError(f"line {number} of the prompts file cannot be used: {error}") from error
    if not questions:
        raise InputError("the prompts file is empty")
    return questions


def read_questions_file(path: Path, codec: Codec | None) -> list[Question]:
    """Questions of a prompts file.

    Raises:
        InputError: the file cannot be read, is empty, or has a line that is no question.
    """
    try:
        with path.open("rb") as lines:
            return read_questions(lines, codec)
    except OSError as error:
        raise InputError(f"cannot read the prompts file {path}: {error.strerror}") from error

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The questions of a measurement: prompts as token ids, with expected answers where there are some."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nld_trt.measure.prompt_lines import PromptLine, named_line, read_prompt_file, read_prompt_lines
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
    """Return the questions in JSONL lines, which have one of the formats of :mod:`nld_trt.measure.prompt_lines`.

    Of a SPEED-Bench conversation it is the first turn, since a later one follows an answer.

    Raises:
        InputError: a line is no question, or there is no line.
    """
    return questions_of(read_prompt_lines(lines), codec)


def read_questions_file(path: Path, codec: Codec | None) -> list[Question]:
    """Return the questions of a prompts file.

    Raises:
        InputError: the file cannot be read, is empty, or has a line that is no question.
    """
    return questions_of(read_prompt_file(path), codec)


def questions_of(lines: Sequence[PromptLine], codec: Codec | None) -> list[Question]:
    """Return the questions of lines.

    Raises:
        InputError: a line's prompt cannot be used.
    """
    questions = []
    for line in lines:
        with named_line(line.number):
            prompt_ids = parse_prompt(line.request, codec)
        questions.append(Question(line.request_id, prompt_ids, line.answer, line.family))
    return questions

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The lines of a prompts file, whichever of three formats it has.

These are requests as ``generate --input`` takes them, AIPerf's ``single_turn`` lines with ``text``, and SPEED-Bench.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nld_trt.errors import InputError, shortened
from nld_trt.files.json_text import JsonError, parse_json
from nld_trt.measure.speed_bench import ID_FIELD, SpeedBenchQuestion

# AIPerf's name for a prompt.
_TEXT: Final = "text"


@dataclass(frozen=True)
class PromptLine:
    """One line.

    Attributes:
        number: of the line, from 1.
        request: the prompt, as a request has it; of a SPEED-Bench conversation the first turn.
        family: the kind of question; SPEED-Bench's category.
        conversation: the whole line, if it is one of SPEED-Bench.
    """

    number: int
    request_id: str
    request: Mapping[str, Any]
    answer: str | None = None
    family: str | None = None
    conversation: SpeedBenchQuestion | None = None


def read_prompt_lines(lines: Iterable[str | bytes]) -> list[PromptLine]:
    """Read the lines of a prompts file. The prompts themselves are not checked.

    Raises:
        InputError: a line is in none of the formats, some lines are of SPEED-Bench and some not, or there is no line.
    """
    found = []
    for number, text in enumerate(lines, start=1):
        if text.strip():
            with named_line(number):
                found.append(_read(number, parse_json(text)))
    if not found:
        raise InputError("the prompts file is empty")
    kinds = {line.conversation is not None: line.number for line in reversed(found)}
    if len(kinds) > 1:
        raise InputError(
            f"line {kinds[True]} of the prompts file is one of SPEED-Bench, and line {kinds[False]} is not",
            fix="Measure them by themselves: SPEED-Bench is reported by its categories.",
        )
    return found


def read_prompt_file(path: Path) -> list[PromptLine]:
    """Read a prompts file.

    Raises:
        InputError: the file cannot be read, or as in :func:`read_prompt_lines`.
    """
    try:
        with path.open("rb") as lines:
            return read_prompt_lines(lines)
    except OSError as error:
        raise InputError(f"cannot read the prompts file {path}: {error.strerror}") from error


@contextmanager
def named_line(number: int) -> Iterator[None]:
    """Begin every refusal in the body with the number of the line."""
    try:
        yield
    except JsonError as error:
        raise InputError(f"line {number} of the prompts file {error.what}") from error
    except InputError as error:
        raise InputError(f"line {number} of the prompts file cannot be used: {error}") from error


def _read(number: int, values: Any) -> PromptLine:
    if not isinstance(values, dict):
        raise InputError("it is no JSON object")
    if ID_FIELD in values:
        asked = SpeedBenchQuestion.parse(values)
        request = {"messages": asked.first_turn}
        return PromptLine(number, asked.question_id, request, family=asked.category, conversation=asked)
    answer, family = values.get("answer"), values.get("family")
    for name, value in (("answer", answer), ("family", family)):
        if not isinstance(value, str | None):
            raise InputError(f"{name} is {shortened(repr(value))}, which is no text")
    request = values
    if _TEXT in values and "prompt" not in values:
        request = {"prompt": values[_TEXT], **{name: value for name, value in values.items() if name != _TEXT}}
    return PromptLine(number, str(values.get("id", number)), request, answer, family)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Lines of SPEED-Bench, NVIDIA's prompts for speculative decoding, in the format of its JSONL files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nld_trt.errors import InputError, shortened

# The field that no other format has, by which a file is recognised.
ID_FIELD: Final = "question_id"
# AIPerf accepts no other length.
_ID_LENGTH: Final = 32
# What published files have in the place of texts that have to be fetched from their sources.
_PLACEHOLDER: Final = "FULL BENCHMARK DATA SHOULD BE FETCHED"


@dataclass(frozen=True)
class SpeedBenchQuestion:
    """One conversation. Clients send its messages one after the other, each after the answer to the one before."""

    question_id: str
    category: str
    messages: Sequence[Mapping[str, str]]

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> SpeedBenchQuestion:
        """Read the object of a line.

        Raises:
            InputError: it is not in SPEED-Bench's format. The message names the field.
        """
        question_id, category, messages = (values.get(name) for name in (ID_FIELD, "category", "messages"))
        if not isinstance(question_id, str) or len(question_id) != _ID_LENGTH:
            raise InputError(
                f"{ID_FIELD} is {shortened(repr(question_id))}; SPEED-Bench's have {_ID_LENGTH} characters"
            )
        if not isinstance(category, str) or not category:
            raise InputError(f"category is {shortened(repr(category))}; it must be a text")
        if not isinstance(messages, list) or not messages:
            raise InputError("messages must be a list of at least one message")
        for number, message in enumerate(messages):
            _check_message(f"messages[{number}]", message)
        return cls(question_id, category, tuple(messages))

    @property
    def first_turn(self) -> list[Mapping[str, str]]:
        """The messages up to the first one that asks for an answer."""
        asking = next((place for place, each in enumerate(self.messages) if each["role"] == "user"), 0)
        return list(self.messages[: asking + 1])


def _check_message(name: str, message: Any) -> None:
    for part in ("role", "content"):
        text = message.get(part) if isinstance(message, dict) else None
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{name} has no text {part!r}")
    if _PLACEHOLDER in message["content"]:
        raise InputError(
            f"{name} has SPEED-Bench's placeholder in the place of a text",
            fix="Fetch the prompts with the script that comes with SPEED-Bench.",
        )

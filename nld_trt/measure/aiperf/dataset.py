# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The prompts as AIPerf reads them: a JSONL file, and a tokenizer that no request uses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nld_trt.errors import InputError
from nld_trt.files import publish_file
from nld_trt.measure.prompt_lines import PromptLine, named_line
from nld_trt.model.text.conversation import BESIDE, Conversation

SINGLE_TURN: Final = "single_turn"
SPEED_BENCH: Final = "speed_bench_qualitative"

# AIPerf opens a tokenizer before the first request, also where every count of tokens is the server's.
_TOKENIZER: Final[dict[str, Any]] = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"},
}  # fmt: skip
_TOKENIZER_CONFIG: Final = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}


@dataclass(frozen=True)
class Dataset:
    """Prompts in AIPerf's form.

    Attributes:
        rows: a line of the file each.
        format: AIPerf's name for the form.
        categories: of SPEED-Bench, by the id of a conversation; empty for other prompts.
    """

    rows: Sequence[Mapping[str, Any]]
    format: str
    categories: Mapping[str, str]

    @classmethod
    def of(cls, lines: Sequence[PromptLine]) -> Dataset:
        """Convert the lines of a prompts file.

        Raises:
            InputError: a prompt is one that a chat client cannot send.
        """
        conversations = [line.conversation for line in lines if line.conversation is not None]
        if conversations:
            rows = [
                {"question_id": each.question_id, "category": each.category, "messages": list(each.messages)}
                for each in conversations
            ]
            return cls(rows, SPEED_BENCH, {each.question_id: each.category for each in conversations})
        single = []
        for line in lines:
            with named_line(line.number):
                single.append(_single_turn(line))
        return cls(single, SINGLE_TURN, {})

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write the prompts and the tokenizer into ``folder``, and return the path of each."""
        tokenizer = folder / "tokenizer"
        tokenizer.mkdir(parents=True, exist_ok=True)
        texts = {
            folder / "prompts.jsonl": "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in self.rows),
            tokenizer / "tokenizer.json": json.dumps(_TOKENIZER),
            tokenizer / "tokenizer_config.json": json.dumps(_TOKENIZER_CONFIG),
        }
        for path, text in texts.items():
            with publish_file(path) as work:
                work.write_text(text, encoding="utf-8")
        return folder / "prompts.jsonl", tokenizer


def _single_turn(line: PromptLine) -> dict[str, Any]:
    request = line.request
    if "prompt_ids" in request or request.get("raw"):
        raise InputError(
            "a chat client sends texts, for which the server has a template",
            fix="Give prompt or messages, without raw; token ids can be measured with an engine.",
        )
    # AIPerf puts lines of one session into one conversation.
    row: dict[str, Any] = {"session_id": str(line.number)}
    beside = {name: request[name] for name in BESIDE if request.get(name) is not None}
    if "messages" in request:
        Conversation.parse(request)
        return {**row, "text": "messages", "extra": {"messages": request["messages"], **beside}}
    prompt, system = request.get("prompt"), request.get("system")
    if not isinstance(prompt, str) or not prompt:
        raise InputError("it has no prompt (text), text or messages (a conversation)")
    if system:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": prompt}]
        return {**row, "text": prompt, "extra": {"messages": messages, **beside}}
    return {**row, "text": prompt, **({"extra": beside} if beside else {})}

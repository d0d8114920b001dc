# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a client sends in the place of a prompt, and a whole answer with its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nld_trt.errors import InputError
from nld_trt.files.json_text import JsonError, parse_json
from nld_trt.model.text.conversation import Conversation, parse_beside
from nld_trt.model.text.files import read_text
from nld_trt.serving.triton.client import Chunk


def read_conversation(**files: Path | None) -> dict[str, Any]:
    """Read JSON files, by the name of the input that each is for, and check them as the server will.

    Raises:
        InputError: a file cannot be read, is not JSON, or holds no conversation.
    """
    values = {}
    for name, path in files.items():
        if path is not None:
            try:
                values[name] = parse_json(read_text(path))
            except JsonError as error:
                raise InputError(f"{path} {error.what}") from error
    if "messages" in values:
        Conversation.parse(values)
    else:
        parse_beside(values)
    return values


@dataclass(frozen=True)
class Answer:
    """All chunks of one answer.

    Attributes:
        chunks: at least one; the last has the figures.
        seconds: from the request to the last chunk.
    """

    chunks: Sequence[Chunk]
    seconds: float

    @property
    def tokens(self) -> int:
        return sum(chunk.tokens for chunk in self.chunks)

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds

    def to_dict(self) -> dict[str, Any]:
        last = self.chunks[-1]
        return {
            "text": "".join(chunk.text for chunk in self.chunks),
            "finish_reason": last.finish_reason,
            "mode": last.mode,
            "num_input_tokens": last.num_input_tokens,
            "num_output_tokens": self.tokens,
            "chunks": len(self.chunks),
            "seconds": round(self.seconds, 6),
            "tokens_per_second": round(self.tokens_per_second, 3),
            "tokens_per_forward": last.tokens_per_forward,
            "acceptance_length": last.acceptance_length,
            **_of_auto(last),
            "nfe": last.nfe,
            "seed": last.seed,
        }

    @property
    def summary(self) -> str:
        """The figures on one line, for the user."""
        last = self.chunks[-1]
        parts = [last.mode, f"{self.tokens} tokens", f"{self.tokens_per_second:.1f} tokens/s"]
        if last.tokens_per_forward is not None:
            parts.append(f"{last.tokens_per_forward:.2f} tokens per forward")
        if last.acceptance_length is not None:
            parts.append(f"acceptance length {last.acceptance_length:.2f}")
        if last.seed is not None:
            parts.append(f"seed {last.seed}")
        return f"[{', '.join(parts)}, finished by {last.finish_reason}]"


def _of_auto(last: Chunk) -> dict[str, Any]:
    """How the mode of an answer of mode auto has changed; empty for others."""
    if last.mode_tokens is None:
        return {}
    return {
        "mode_tokens": parse_json(last.mode_tokens),
        "mode_switches": last.mode_switches,
        "mode_reason": last.mode_reason,
    }

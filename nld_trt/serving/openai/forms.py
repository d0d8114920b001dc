# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The two forms of answers: chat completions, and completions of texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Form:
    """The JSON of one endpoint.

    Attributes:
        path: of the endpoint.
        prefix: of an answer's id.
        whole, chunk: the field ``object`` of a whole answer and of a chunk, by which clients tell answers apart.
        chat: whether texts are messages; a stream of messages begins with the role.
    """

    path: str
    prefix: str
    whole: str
    chunk: str
    chat: bool

    def choice(self, index: int, content: Mapping[str, Any], finish_reason: str | None) -> dict[str, Any]:
        """A choice of a whole answer. ``content`` has its parts by name; the one called ``content`` is the text."""
        body = {"message": {"role": "assistant", "refusal": None, **content}} if self.chat else _text(content)
        return {"index": index, **body, "logprobs": None, "finish_reason": finish_reason}

    def piece(self, index: int, content: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        """A choice of a chunk, with the parts that it adds."""
        body = {"delta": dict(content)} if self.chat else _text(content)
        return {"index": index, **body, "logprobs": None, "finish_reason": finish_reason}

    def opening(self, index: int) -> dict[str, Any] | None:
        """The first choice of a stream, or None if it begins with a text."""
        return self.piece(index, {"role": "assistant", "content": ""}) if self.chat else None


def _text(content: Mapping[str, Any]) -> dict[str, Any]:
    return {"text": content.get("content", "")}


CHAT: Final = Form("/v1/chat/completions", "chatcmpl", "chat.completion", "chat.completion.chunk", chat=True)
TEXT: Final = Form("/v1/completions", "cmpl", "text_completion", "text_completion", chat=False)
FORMS: Final = (CHAT, TEXT)

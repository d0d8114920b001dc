# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The prompt of a request that came as JSON: a text, a conversation, or token ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nld_trt.errors import InputError, shortened
from nld_trt.files.json_text import check_plain
from nld_trt.model.text.codec import Codec
from nld_trt.model.text.conversation import BESIDE, Conversation, parse_beside

# Field of a request to what it is.
PROMPTS: dict[str, str] = {"prompt": "text", "messages": "a conversation", "prompt_ids": "token ids"}


def parse_prompt(values: Mapping[str, Any], codec: Codec | None) -> tuple[int, ...]:
    """Token ids of ``prompt``, ``messages`` or ``prompt_ids``, whichever the object has.

    Raises:
        InputError: none or several of these, one of another type, or something beside it that has no place there.
    """
    given = [name for name in PROMPTS if name in values]
    if len(given) != 1:
        raise InputError(f"give either {' or '.join(f'{name} ({meaning})' for name, meaning in PROMPTS.items())}")
    (kind,) = given
    if kind == "prompt_ids":
        refuse_beside(values, ("system", *BESIDE), "prompt_ids leave no place for {}")
        ids = values["prompt_ids"]
        if not isinstance(ids, list) or not all(type(token) is int for token in ids):
            raise InputError("prompt_ids must be a list of token ids")
        return tuple(ids)
    if codec is None:
        raise InputError(f"the engine has no tokenizer: give prompt_ids instead of {kind}")
    if kind == "messages":
        refuse_beside(values, ("system", "raw"), "messages leave no place for {}")
        return codec.encode_conversation(Conversation.parse(values))
    return _of_text(values, codec)


def refuse_beside(values: Mapping[str, Any], names: Iterable[str], sentence: str) -> None:
    """Refuse what would otherwise be left out without a word.

    Raises:
        InputError: ``sentence``, with what there is in the place of ``{}``.
    """
    for name in names:
        if values.get(name):
            raise InputError(
                sentence.format("a system message" if name == "system" else name), fix=f"Leave out {name}."
            )


def _of_text(values: Mapping[str, Any], codec: Codec) -> tuple[int, ...]:
    prompt, system = values["prompt"], values.get("system")
    for name, text in (("prompt", prompt), ("system", "" if system is None else system)):
        if not isinstance(text, str):
            raise InputError(f"{name} is {shortened(repr(text))}, which is no text")
        check_plain(name, text)
    raw = values.get("raw")
    if not isinstance(raw, bool | None):
        raise InputError(f"raw is {shortened(repr(raw))}; it must be true or false")
    if not raw:
        return codec.encode_conversation(Conversation.of_prompt(prompt, system, **parse_beside(values)))
    if system:
        raise InputError("a raw prompt has no system message", fix="Leave out raw, or the system message.")
    refuse_beside(values, BESIDE, "a raw prompt has no place for {}")
    return codec.encode(prompt)

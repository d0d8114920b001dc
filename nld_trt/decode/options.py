# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a Python caller gives to one generation: a prompt in any of its forms, and options by the names of a request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import index
from typing import Any, TypedDict

from nld_trt.decode.jsonl import parse_request
from nld_trt.decode.request import Request
from nld_trt.errors import InputError, shortened
from nld_trt.model.text.codec import Codec
from nld_trt.model.text.prompt import PROMPTS
from nld_trt.names import AcceptanceName, ModeName

# A text, token ids, messages, or a whole request: as the object in a line of a requests file, or checked already.
Prompt = str | Sequence[int] | Sequence[Mapping[str, Any]] | Mapping[str, Any] | Request

_FORMS = "a text, a list of token ids, a list of messages with role and content, or a request as a dict"


class Options(TypedDict, total=False):
    """Options of a generation: the fields of a requests file (docs/decoding.md). None means the default.

    Only ``threshold`` takes None for a value of its own: one token per pass in diffusion.
    """

    prompt: str | None
    prompt_ids: Sequence[int] | None
    messages: Sequence[Mapping[str, Any]] | None
    tools: Sequence[Mapping[str, Any]] | None
    documents: Sequence[Mapping[str, Any]] | None
    chat_template_kwargs: Mapping[str, Any] | None
    system: str | None
    raw: bool | None
    mode: ModeName | None
    lora: bool | None
    max_new_tokens: int | None
    block_length: int | None
    threshold: float | None
    steps: int | None
    block_cache: bool | None
    eos_token_id: int | Sequence[int] | None
    stop: str | Sequence[str] | None
    keep_markers: bool | None
    max_thinking_tokens: int | None
    end_think_token_id: int | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    seed: int | None
    acceptance: AcceptanceName | None
    ensemble: float | None
    allow_diffusion: bool | None


def make_request(prompt: Prompt | None, options: Mapping[str, Any], codec: Codec | None) -> Request:
    """The request for ``prompt``; where that is a dict, its fields win over ``options``.

    Raises:
        InputError: an option that is unknown or has another type, no prompt or several, or a prompt that the
            engine's tokenizer or chat template cannot take.
    """
    if isinstance(prompt, Request):
        if options:
            raise InputError(
                f"{next(iter(options))} was given beside a Request, which carries its own settings",
                fix=f"Make the request with it: engine.request(prompt, {next(iter(options))}=...)",
            )
        return prompt
    found = {} if prompt is None else _fields_of(prompt)
    twice = [name for name in PROMPTS if name in options] if any(name in found for name in PROMPTS) else []
    if twice:
        raise InputError(f"two prompts were given, one of them as {twice[0]}", fix="Leave one of them out.")
    values = {**options, **found}
    return parse_request(
        {name: _plain(name, value) for name, value in values.items() if value is not None or name == "threshold"}, codec
    )


def _fields_of(prompt: Any) -> dict[str, Any]:
    """The fields of a request that ``prompt`` stands for."""
    if isinstance(prompt, str):
        return {"prompt": prompt}
    if isinstance(prompt, Mapping):
        if "role" in prompt:
            raise InputError("the prompt is one message; messages are given as a list", fix="Write it as [message].")
        return dict(prompt)
    if isinstance(prompt, bytes) or not isinstance(prompt, Iterable):
        raise InputError(f"the prompt is {shortened(repr(prompt))}; it must be {_FORMS}")
    items = list(prompt)
    if not items:
        raise InputError("the prompt is empty: at least one token or message is needed")
    if all(isinstance(item, Mapping) for item in items):
        return {"messages": [dict(item) for item in items]}
    if all(_is_whole(item) for item in items):
        return {"prompt_ids": [index(item) for item in items]}
    raise InputError(
        f"the prompt is a list with {shortened(repr(next(item for item in items if not _is_whole(item))))} in it; "
        f"a prompt is {_FORMS}",
        fix="For several prompts use engine.batch([...])." if all(isinstance(item, str) for item in items) else None,
    )


def _is_whole(value: Any) -> bool:
    """Whether ``value`` is a whole number, of NumPy's and other libraries' too."""
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _plain(name: str, value: Any) -> Any:
    """An option in the types that JSON has, in which requests are checked."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if name == "stop" and isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value

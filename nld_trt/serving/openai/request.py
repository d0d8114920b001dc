# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""From the body of a request to what is asked of the served model: one set of inputs for each choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from nld_trt.decode.fields import MAX_SEED
from nld_trt.errors import InputError, shortened
from nld_trt.files.json_text import JsonError, parse_json
from nld_trt.model.text.conversation import BESIDE, Conversation
from nld_trt.serving.openai import fields
from nld_trt.serving.openai.errors import INVALID, NO_MODEL, UNSUPPORTED, ApiError, of_input
from nld_trt.serving.openai.forms import CHAT, Form
from nld_trt.serving.openai.tools import Tools

# OpenAI's newer name for the role that templates call system.
_ROLES: Final = {"developer": "system"}


@dataclass(frozen=True)
class Asked:
    """What one client asks for.

    Attributes:
        inputs: the model's inputs by name, for each choice.
        parameters: Triton's request parameters, for all choices.
        prompts: number of prompts; choices are in the order of the prompts.
        include_usage: the stream ends with a chunk that has the usage.
        continuous_usage: every chunk of the stream has the usage so far.
        tools: what the model may call; None if nothing.
    """

    form: Form
    model: str
    inputs: Sequence[Mapping[str, Any]]
    parameters: Mapping[str, str | int | bool] = field(default_factory=dict)
    prompts: int = 1
    stream: bool = False
    include_usage: bool = False
    continuous_usage: bool = False
    tools: Tools | None = None

    def prompt_of(self, choice: int) -> int:
        """The number of the prompt that a choice answers."""
        return choice * self.prompts // len(self.inputs)


def parse(body: Any, form: Form, models: Sequence[str], *, max_choices: int) -> Asked:
    """Read the body of a request.

    Args:
        models: names of the models that are served. A request may leave its model out where there is only one.

    Raises:
        ApiError: something in it cannot be used. The message names the field.
    """
    if not isinstance(body, dict):
        raise ApiError(INVALID, "the body must be a JSON object")
    model = _model(body, models)
    fields.refuse_unsupported(body)
    stream = fields.flag(body, "stream")
    options = fields.mapping(body, "stream_options")
    if options and not stream:
        raise ApiError(INVALID, "stream_options is only for requests with stream", param="stream_options")
    tools = Tools.parse(body)
    if tools is not None and form is not CHAT:
        raise ApiError(UNSUPPORTED, "tools are for chat completions; leave tools out", param="tools")
    prompts = [_conversation(body, tools)] if form is CHAT else _prompts(body)
    inputs = {**fields.settings(body), "stream": stream}
    choices = fields.whole(body, "n", 1)
    if choices < 1 or choices * len(prompts) > max_choices:
        raise ApiError(
            INVALID,
            f"n is {shortened(choices)} for {len(prompts)} prompts; a request may have 1 to {max_choices} answers",
            param="n",
        )
    return Asked(
        form=form,
        model=model,
        inputs=[{**inputs, **prompt, **_seed(inputs, number)} for prompt in prompts for number in range(choices)],
        parameters=fields.parameters(body),
        prompts=len(prompts),
        stream=stream,
        include_usage=fields.flag(options, "include_usage"),
        continuous_usage=fields.flag(options, "continuous_usage_stats"),
        tools=tools,
    )


def _model(body: Mapping[str, Any], models: Sequence[str]) -> str:
    asked = body.get("model")
    if asked is None and len(models) == 1:
        return models[0]
    if asked not in models:
        found = "the request has no model" if asked is None else f"there is no model {shortened(repr(asked))}"
        kind = INVALID if asked is None else NO_MODEL
        raise ApiError(kind, f"{found}; this server has {', '.join(models)}", param="model")
    return str(asked)


def _seed(inputs: Mapping[str, Any], number: int) -> dict[str, int]:
    """The seed of a choice. With the same seed all would be the same text."""
    seed = inputs.get("seed")
    if seed is None or not 0 <= seed <= MAX_SEED:  # the server refuses those out of range
        return {}
    return {"seed": (seed + number) % (MAX_SEED + 1)}


def _conversation(body: Mapping[str, Any], tools: Tools | None) -> dict[str, Any]:
    messages = body.get("messages")
    if isinstance(messages, list):
        messages = [_message(f"messages[{number}]", message) for number, message in enumerate(messages)]
    # Where no tool may be called, the template is not told of any.
    given = body if tools is not None else {**body, "tools": None}
    beside = {name: given[name] for name in BESIDE if given.get(name) is not None}
    try:
        Conversation.parse({"messages": messages, **beside})
    except InputError as error:
        raise of_input(error, "messages") from error
    # The markers are what tells thinking and calls from the text.
    return {"messages": messages, **beside, "keep_markers": True}


def _message(name: str, message: Any) -> Any:
    """A message as templates take it: its content is one text, and its role one that they know."""
    if not isinstance(message, dict):
        return message
    role, content = message.get("role"), message.get("content")
    changed: dict[str, Any] = {"role": _ROLES[role]} if isinstance(role, str) and role in _ROLES else {}
    if isinstance(content, list):
        changed["content"] = "".join(_text(f"{name}.content[{number}]", part) for number, part in enumerate(content))
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        changed["tool_calls"] = [_call(call) for call in calls]
    return {**message, **changed}


def _call(call: Any) -> Any:
    """An earlier call as templates take it: they go through its arguments, which OpenAI's clients send as a text."""
    function = call.get("function") if isinstance(call, dict) else None
    arguments = function.get("arguments") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(arguments, str):
        return call
    try:
        parsed = parse_json(arguments or "{}")
    except JsonError:
        return call
    return {**call, "function": {**function, "arguments": parsed}} if isinstance(parsed, dict) else call


def _text(name: str, part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind != "text":
        raise ApiError(UNSUPPORTED, f"{name} has the type {shortened(repr(kind))}; the model reads text", param=name)
    text = part.get("text")
    if not isinstance(text, str):
        raise ApiError(INVALID, f"{name}.text is {shortened(repr(text))}; it must be a text", param=name)
    return text


def _prompts(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read ``prompt``: a text, token ids, or a list of either. They are used without a chat template."""
    prompt = body.get("prompt")
    listed = prompt if isinstance(prompt, list) and prompt and not _is_ids(prompt) else [prompt]
    echo = fields.flag(body, "echo")
    found: list[dict[str, Any]] = []
    for each in listed:
        if isinstance(each, str):
            found.append({"text_input": each, "raw": True, **({"exclude_input_in_output": False} if echo else {})})
        elif _is_ids(each) and not echo:
            found.append({"input_ids": each})
        elif _is_ids(each):
            raise ApiError(UNSUPPORTED, "echo is not supported for prompts of token ids", param="echo")
        else:
            words = "a text, token ids, or a list of either"
            raise ApiError(INVALID, f"prompt is {shortened(repr(prompt))}; it must be {words}", param="prompt")
    return found


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int for item in value)

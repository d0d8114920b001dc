# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Conversations, the input of chat templates: messages, tools, documents and variables of the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nld_trt.errors import InputError, shortened
from nld_trt.files.json_text import check_plain

# The fields in which a message can have the model's reasoning. Templates read the first, and some the second.
_REASONING = ("reasoning_content", "thinking", "reasoning")
# Types of parts that are images, as chat templates and OpenAI's APIs call them.
_IMAGES = ("image", "image_url", "input_image")


@dataclass(frozen=True)
class Conversation:
    """A conversation in the form of chat completion APIs.

    Attributes:
        messages: each with ``role``, and ``content`` or whatever else the template reads.
        tools: descriptions of functions, as JSON schemas. Templates distinguish None from an empty list.
        documents: documents for the answer. Templates distinguish None from an empty list.
        variables: variables of the template, such as ``enable_thinking``. They override those that every template gets.
    """

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] | None = None
    documents: Sequence[Mapping[str, Any]] | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_prompt(cls, prompt: str, system: str | None = None, **beside: Any) -> Conversation:
        """Make a conversation of one user message, after a system message if one is given."""
        messages = [{"role": "system", "content": system}] if system else []
        return cls([*messages, {"role": "user", "content": prompt}], **beside)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Conversation:
        """Read the ``messages`` of a request, with its fields in ``BESIDE``.

        Raises:
            InputError: a part of it is not valid, which the message names.
        """
        messages = values["messages"]
        if not isinstance(messages, list) or not messages:
            raise InputError(f"messages is {shortened(repr(messages))}; it must be a list of at least one message")
        for number, message in enumerate(messages):
            _check_message(f"messages[{number}]", message)
        return cls(messages, **parse_beside(values))

    @property
    def template_values(self) -> dict[str, Any]:
        """The variables of the template, prepared as transformers prepares them.

        Fields of a message that are null are left out, because many templates only test whether a field exists.
        """
        return {
            "messages": [_with_reasoning(message) for message in self.messages],
            "tools": self.tools,
            "documents": self.documents,
            "add_generation_prompt": True,
            **self.variables,
        }


# Maps fields of a request to arguments of Conversation.
BESIDE: dict[str, str] = {"tools": "tools", "documents": "documents", "chat_template_kwargs": "variables"}


def parse_beside(values: Mapping[str, Any]) -> dict[str, Any]:
    """Read a request's fields of ``BESIDE`` as arguments of :class:`Conversation`. Null fields are left out.

    Raises:
        InputError: a field is not valid, which the message names.
    """
    given = {name: values[name] for name in BESIDE if values.get(name) is not None}
    for name, value in given.items():
        check_plain(name, value)
        if name == "chat_template_kwargs":
            _check_variables(value)
        elif not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise InputError(f"{name} is {shortened(repr(value))}; it must be a list of objects")
    return {BESIDE[name]: value for name, value in given.items()}


def _check_variables(value: Any) -> None:
    if not isinstance(value, dict):
        raise InputError(f"chat_template_kwargs is {shortened(repr(value))}; it must be an object of variables by name")
    taken = next((name for name in ("messages", "tools", "documents") if name in value), None)
    if taken is not None:
        raise InputError(f"chat_template_kwargs holds {taken}, which is a field of the request itself")


def _check_message(name: str, message: Any) -> None:
    if not isinstance(message, dict):
        raise InputError(f"{name} is {shortened(repr(message))}; a message is an object with role and content")
    check_plain(name, message)
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str):
        found = f"is {shortened(repr(role))}; it must be a text" if "role" in message else "is missing"
        raise InputError(f"{name}.role {found}")
    if not isinstance(content, str | list | None):
        raise InputError(f"{name}.content is {shortened(repr(content))}; it must be a text, a list of parts or null")
    for number, part in enumerate(content if isinstance(content, list) else ()):
        if not isinstance(part, dict):
            raise InputError(f"{name}.content[{number}] is {shortened(repr(part))}; a part is an object")
        if part.get("type") in _IMAGES:
            raise InputError(
                f"{name}.content[{number}] is an image (type {part['type']!r}), and engines read text alone",
                fix="Leave it out: of models that read images, the text model is converted and nothing else.",
            )
    calls = message.get("tool_calls")
    if calls is not None and not (isinstance(calls, list) and all(isinstance(call, dict) for call in calls)):
        raise InputError(f"{name}.tool_calls is {shortened(repr(calls))}; it must be a list of objects")


def _with_reasoning(message: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a message without nulls, and with its reasoning in both fields that templates read."""
    given = {name: value for name, value in message.items() if value is not None}
    reasoning = next((given[name] for name in _REASONING if name in given), None)
    if reasoning is None:
        return given
    return {"thinking": reasoning, **given, "reasoning_content": reasoning}

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The tools of a request, and the calls that a model writes, in the forms that chat templates of this family teach.

Between its markers a call is either ``<function=NAME>`` with a ``<parameter=NAME>`` for each argument, whose value is
plain text, or JSON: an object with ``name`` and ``arguments``, or a list of such objects.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from nld_trt.errors import shortened
from nld_trt.files.json_text import JsonError, parse_json
from nld_trt.serving.openai.errors import INVALID, ApiError

_FUNCTIONS: Final = re.compile(r"\s*<function=([^>\n]+)>(.*?)</function>", re.DOTALL)
_PARAMETERS: Final = re.compile(r"\s*<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
_NONE: Final = "none"


class MalformedCallError(ValueError):
    """What stands between the markers is no call."""


@dataclass(frozen=True)
class Call:
    """A call of one function.

    Attributes:
        arguments: values by name.
    """

    name: str
    arguments: Mapping[str, Any]

    def to_dict(self, name: str) -> dict[str, Any]:
        """The call as OpenAI's answers have it, where arguments are a text. ``name`` is a part of its id."""
        function = {"name": self.name, "arguments": json.dumps(self.arguments, ensure_ascii=False)}
        return {"id": f"call-{name}", "type": "function", "function": function}


@dataclass(frozen=True)
class Tools:
    """The functions that a request offers.

    Attributes:
        schemas: JSON schema of a function's arguments, by the function's name.
        parallel: an answer may have several calls.
    """

    schemas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    parallel: bool = True

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Tools | None:
        """Read the tools of a request. Returns None if it has none, or says that none may be called.

        Raises:
            ApiError: one is not a function with a name.
        """
        tools = body.get("tools")
        if tools is None or tools == [] or body.get("tool_choice") == _NONE:
            return None
        if not isinstance(tools, list):
            raise _wrong("tools", tools, "a list")
        schemas = dict(_function(f"tools[{number}]", tool) for number, tool in enumerate(tools))
        return cls(schemas, body.get("parallel_tool_calls") is not False)

    def read(self, text: str) -> list[Call]:
        """Read what stands between two markers.

        Raises:
            MalformedCallError: it is no call.
        """
        text = text.strip()
        return self._tagged(text) if text.startswith("<") else _in_json(text)

    def _tagged(self, text: str) -> list[Call]:
        calls = []
        for name, body in _whole(_FUNCTIONS, text):
            schema = self.schemas.get(name, {}).get("properties")
            kinds = schema if isinstance(schema, dict) else {}
            arguments = {key: _value(value, kinds.get(key)) for key, value in _whole(_PARAMETERS, body)}
            calls.append(Call(name, arguments))
        return calls


def _function(name: str, tool: Any) -> tuple[str, Mapping[str, Any]]:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise _wrong(name, tool, "a function with a name: {'type': 'function', 'function': {'name': ...}}")
    schema = function.get("parameters")
    return function["name"], schema if isinstance(schema, dict) else {}


def _wrong(name: str, value: Any, words: str) -> ApiError:
    return ApiError(INVALID, f"{name} is {shortened(repr(value))}; it must be {words}", param="tools")


def _whole(pattern: re.Pattern[str], text: str) -> list[tuple[str, str]]:
    """Match ``pattern`` again and again until the end of ``text``, which may be space."""
    found, end = [], 0
    while match := pattern.match(text, end):
        found.append((match[1].strip(), match[2]))
        end = match.end()
    if text[end:].strip():
        raise MalformedCallError
    return found


def _value(text: str, schema: Any) -> Any:
    """The value of a parameter, which has no quotes: JSON unless the schema says that it is a text."""
    kind = schema.get("type", "string") if isinstance(schema, dict) else "string"
    if kind == "string":
        return text
    try:
        return parse_json(text)
    except JsonError:
        return text


def _in_json(text: str) -> list[Call]:
    try:
        value = parse_json(text)
    except JsonError as error:
        raise MalformedCallError from error
    items: Sequence[Any] = value if isinstance(value, list) else [value]
    calls = []
    for item in items:
        name = item.get("name") if isinstance(item, dict) else None
        arguments = item.get("arguments", item.get("parameters", {})) if isinstance(item, dict) else None
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise MalformedCallError
        calls.append(Call(name, arguments))
    return calls

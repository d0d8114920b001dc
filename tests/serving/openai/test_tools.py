# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Calls of tools in each form that templates teach, and everything that is no call."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nld_trt.serving.openai.tools import Call, MalformedCallError, Tools

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "options": {"type": "object"},
        "zip": {"type": "string"},
    },
}
TOOLS = Tools({"weather": SCHEMA, "time": {}})

CALLS: dict[str, tuple[str, list[Call]]] = {
    "tags": (
        "\n<function=weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n",
        [Call("weather", {"city": "Paris", "days": 3})],
    ),
    "tags without arguments": ("<function=time>\n</function>", [Call("time", {})]),
    "a text that looks like a number": (
        "<function=weather><parameter=zip>07030</parameter></function>",
        [Call("weather", {"zip": "07030"})],
    ),
    "a text of several lines": (
        "<function=weather>\n<parameter=city>\na <b>\n\n c\n</parameter>\n</function>",
        [Call("weather", {"city": "a <b>\n\n c"})],
    ),
    "an object": (
        '<function=weather><parameter=options>{"a": [1]}</parameter></function>',
        [Call("weather", {"options": {"a": [1]}})],
    ),
    "what should be a number": (
        "<function=weather><parameter=days>three</parameter></function>",
        [Call("weather", {"days": "three"})],
    ),
    "a function that was not offered": (
        "<function=other><parameter=x>1</parameter></function>",
        [Call("other", {"x": "1"})],
    ),
    "two in tags": (
        "<function=time></function>\n<function=weather></function>",
        [Call("time", {}), Call("weather", {})],
    ),
    "JSON": ('\n{"name": "weather", "arguments": {"days": 3}}\n', [Call("weather", {"days": 3})]),
    "JSON without arguments": ('{"name": "time"}', [Call("time", {})]),
    "JSON with parameters": ('{"name": "time", "parameters": {"a": null}}', [Call("time", {"a": None})]),
    "a list": (
        '[{"name": "time", "arguments": {}}, {"name": "weather", "arguments": {"city": "é"}}]',
        [Call("time", {}), Call("weather", {"city": "é"})],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CALLS)
def test_calls_are_read(case: str) -> None:
    text, expected = CALLS[case]
    assert TOOLS.read(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "time"', '{"name": 5}', '{"arguments": {}}', '{"name": "time", "arguments": "{}"}', "[1]", "time()",
        "<function=time>", "<function=time></function> and so on", "<function=time>x</function>", "<time></time>",
        "<function=time><parameter=a>1</function>", '{"name": "time", "name": "time"}',
    ],
)  # fmt: skip
def test_what_is_malformed_is_no_call(text: str) -> None:
    with pytest.raises(MalformedCallError):
        TOOLS.read(text)


@given(st.text() | st.text(alphabet='<>/=functioparmeter{}[]":, a1\n'))
def test_any_text_is_calls_or_malformed(text: str) -> None:
    try:
        calls = TOOLS.read(text)
    except MalformedCallError:
        return
    for call in calls:
        found: dict[str, Any] = call.to_dict("0")
        assert isinstance(found["function"]["arguments"], str)

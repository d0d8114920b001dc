# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Answers in parts: thinking, text and calls, in whatever pieces they arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nld_trt.serving.openai.parts import CONTENT, REASONING, Part, Said, Splitter
from nld_trt.serving.openai.tools import Call, Tools

TIME = '<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>'
BROKEN = '<tool_call>{"name": </tool_call>'
TOOLS = Tools({"time": {}})


def split(pieces: list[str], tools: Tools | None = TOOLS) -> list[Part]:
    """The parts, with neighbouring texts of one field joined."""
    splitter = Splitter(tools)
    joined: list[Part] = []
    for part in [part for piece in pieces for part in splitter.push(piece)] + list(splitter.finish()):
        last = joined[-1] if joined else None
        if isinstance(part, Said) and isinstance(last, Said) and last.name == part.name:
            joined[-1] = Said(part.name, last.text + part.text)
        else:
            joined.append(part)
    return joined


CASES: dict[str, tuple[str, list[Part]]] = {
    "text": ("37 < 42", [Said(CONTENT, "37 < 42")]),
    "thinking": ("<think>\nHm.\n</think>\n\nYes.", [Said(REASONING, "Hm.\n"), Said(CONTENT, "Yes.")]),
    "thinking without an end": ("<think>Hm.", [Said(REASONING, "Hm.")]),
    "a second end": ("<think></think>a</think>b", [Said(CONTENT, "ab")]),
    "no thinking": ("<think></think>Yes.", [Said(CONTENT, "Yes.")]),
    "a call": (f"<think>Hm.</think>{TIME}", [Said(REASONING, "Hm."), Call("time", {})]),
    "two calls": (f"I look.\n{TIME}\n{TIME}\n", [Said(CONTENT, "I look.\n"), Call("time", {}), Call("time", {})]),
    "a call of the other markers": ('<TOOLCALL>[{"name": "time"}]</TOOLCALL>', [Call("time", {})]),
    "a malformed call": (f"a{BROKEN}b", [Said(CONTENT, f"a{BROKEN}b")]),
    "a call without an end": ("a<tool_call>{", [Said(CONTENT, "a<tool_call>{")]),
    "half a marker": ("a<tool_c", [Said(CONTENT, "a<tool_c")]),
    "a call while thinking": (f"<think>{TIME}</think>", [Said(REASONING, TIME)]),
}


@pytest.mark.parametrize("case", CASES)
def test_parts_of_an_answer(case: str) -> None:
    text, expected = CASES[case]
    assert split([text]) == expected
    assert split(list(text)) == expected


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<tool_call>", "</tool_call>", TIME, "a", "\n", "<", ">"])),
    st.data(),
)
def test_parts_do_not_depend_on_the_pieces(pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    assert split([text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]) == split([text])


def test_text_is_held_back_only_while_it_may_be_a_marker() -> None:
    splitter = Splitter(TOOLS)
    found = [list(splitter.push(piece)) for piece in ("a <", "t", "h", "e", "n")]
    assert found == [[Said(CONTENT, "a ")], [], [], [Said(CONTENT, "<the")], [Said(CONTENT, "n")]]


def test_calls_stay_text_where_none_were_offered() -> None:
    assert split([TIME], None) == [Said(CONTENT, TIME)]


def test_one_call_where_no_more_are_wanted() -> None:
    assert split([TIME, TIME], Tools({}, parallel=False)) == [Call("time", {})]

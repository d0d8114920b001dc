# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The prompt of a JSON request: text, messages or token ids, and whatever else somebody may send in their place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nld_trt.errors import InputError
from nld_trt.files.json_text import parse_json
from nld_trt.model.text.codec import Codec
from nld_trt.model.text.prompt import parse_prompt

SHOW = "{{ messages | tojson }}{{ tools | tojson }}{{ documents | tojson }}{{ enable_thinking }}{{ mood }}"
USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.fixture(scope="module")
def codec(root):
    return Codec.open(root / "examples" / "nld-tiny")


@pytest.fixture(scope="module")
def showing(root, tmp_path_factory):
    """A codec whose template shows everything that it is given."""
    path = tmp_path_factory.mktemp("template") / "show.jinja"
    path.write_text(SHOW, encoding="utf-8")
    return Codec.open(root / "examples" / "nld-tiny", str(path))


def test_messages_of_several_turns_are_rendered_by_the_template(codec):
    turns = [USER, {"role": "assistant", "content": "Ho"}, {"role": "user", "content": "And?"}]
    assert parse_prompt({"messages": turns}, codec) == codec.encode_chat(turns)


def test_one_user_message_is_the_same_as_a_prompt(codec):
    assert parse_prompt({"messages": [USER]}, codec) == parse_prompt({"prompt": "Hi"}, codec)


@pytest.mark.parametrize("prompt", [{"messages": [USER]}, {"prompt": "Hi"}], ids=["messages", "prompt"])
def test_tools_documents_and_variables_reach_the_template(showing, prompt):
    beside = {
        "tools": [TOOL],
        "documents": [{"title": "t"}],
        "chat_template_kwargs": {"enable_thinking": True, "mood": "é"},
    }
    text = showing.decode(parse_prompt({**prompt, **beside}, showing))
    expected = [json.dumps(value) for value in ([USER], [TOOL], [{"title": "t"}])]
    assert text == "".join(expected) + "Trueé"


def test_null_beside_a_prompt_gives_nothing(showing):
    nothing = dict.fromkeys(["tools", "documents", "chat_template_kwargs"])
    assert parse_prompt({"prompt": "Hi", "system": None, **nothing}, showing) == parse_prompt({"prompt": "Hi"}, showing)


REFUSED = {
    "no prompt": ({}, "give either prompt (text) or messages (a conversation) or prompt_ids (token ids)"),
    "two prompts": ({"prompt": "a", "messages": [USER]}, "give either prompt"),
    "messages and ids": ({"prompt_ids": [1], "messages": [USER]}, "give either prompt"),
    "no messages": ({"messages": []}, "messages is []; it must be a list of at least one message"),
    "one message": ({"messages": USER}, "messages is {'role': 'user', 'content': 'H...; it must be a list"),
    "messages as text": ({"messages": "[]"}, "messages is '[]'; it must be a list"),
    "message as text": ({"messages": [USER, "Hi"]}, "messages[1] is 'Hi'; a message is an object"),
    "message as null": ({"messages": [None]}, "messages[0] is None; a message is an object"),
    "no role": ({"messages": [{"content": "Hi"}]}, "messages[0].role is missing"),
    "role as number": ({"messages": [{"role": 1, "content": "Hi"}]}, "messages[0].role is 1; it must be a text"),
    "role as list": ({"messages": [{"role": ["user"]}]}, "messages[0].role is ['user']; it must be a text"),
    "content as number": ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content is 5; it must be"),
    "content as object": ({"messages": [{"role": "user", "content": {"text": "a"}}]}, "messages[0].content is {'text'"),
    "part as text": ({"messages": [{"role": "user", "content": ["a"]}]}, "messages[0].content[0] is 'a'; a part"),
    "tool calls as object": ({"messages": [{"role": "assistant", "tool_calls": {}}]}, "messages[0].tool_calls is {}"),
    "NaN inside": ({"messages": [{**USER, "a": [{"b": float("nan")}]}]}, "messages[0] has nan"),
    "surrogate inside": ({"messages": [{**USER, "a": ["\ud800"]}]}, "messages[0] has text that is not Unicode"),
    "surrogate in a name": ({"messages": [{**USER, "\udc00": 1}]}, "messages[0] has text that is not Unicode"),
    "surrogate in a prompt": ({"prompt": "a\udfff"}, "prompt has text that is not Unicode"),
    "surrogate in system": ({"prompt": "a", "system": "\ud800"}, "system has text that is not Unicode"),
    "surrogate, raw": ({"prompt": "\ud83d", "raw": True}, "prompt has text that is not Unicode"),
    "prompt as list": ({"prompt": ["a"]}, "prompt is ['a'], which is no text"),
    "prompt as null": ({"prompt": None}, "prompt is None, which is no text"),
    "raw as text": ({"prompt": "a", "raw": "no"}, "raw is 'no'; it must be true or false"),
    "system as object": ({"prompt": "a", "system": {}}, "system is {}, which is no text"),
    "tools as object": ({"messages": [USER], "tools": {}}, "tools is {}; it must be a list of objects"),
    "tool as text": ({"prompt": "a", "tools": ["f"]}, "tools is ['f']; it must be a list of objects"),
    "documents as text": ({"prompt": "a", "documents": "d"}, "documents is 'd'; it must be a list of objects"),
    "infinity in tools": ({"prompt": "a", "tools": [{"n": float("inf")}]}, "tools has inf"),
    "variables as list": ({"prompt": "a", "chat_template_kwargs": []}, "chat_template_kwargs is []; it must be"),
    "variable with a field's name": (
        {"prompt": "a", "chat_template_kwargs": {"messages": []}},
        "chat_template_kwargs holds messages",
    ),
    "system beside messages": ({"messages": [USER], "system": "a"}, "messages leave no place for a system message"),
    "raw beside messages": ({"messages": [USER], "raw": True}, "messages leave no place for raw"),
    "tools beside ids": ({"prompt_ids": [1], "tools": [TOOL]}, "prompt_ids leave no place for tools"),
    "system beside ids": ({"prompt_ids": [1], "system": "a"}, "prompt_ids leave no place for a system message"),
    "tools of a raw prompt": ({"prompt": "a", "raw": True, "tools": [TOOL]}, "a raw prompt has no place for tools"),
    "system of a raw prompt": ({"prompt": "a", "raw": True, "system": "b"}, "a raw prompt has no system message"),
    "ids as text": ({"prompt_ids": "1"}, "prompt_ids must be a list of token ids"),
    "id with a fraction": ({"prompt_ids": [1.0]}, "prompt_ids must be a list of token ids"),
    "id as truth": ({"prompt_ids": [True]}, "prompt_ids must be a list of token ids"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_prompt_is_refused_by_name(codec, case):
    values, message = REFUSED[case]
    with pytest.raises(InputError) as caught:
        parse_prompt(values, codec)
    assert caught.value.what.startswith(message)


def test_a_template_that_cannot_take_the_messages_is_named(codec):
    with pytest.raises(InputError, match=r"chat_template\.jinja rejected the messages in line 11: TypeError: "):
        parse_prompt({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}, codec)


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["\ud800", "user"])
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "type", "text", "tool_calls", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = ("prompt", "prompt_ids", "messages", "tools", "documents", "chat_template_kwargs", "system", "raw")


@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=4))
def test_any_object_gives_token_ids_or_a_refusal(codec, values):
    try:
        ids = parse_prompt(parse_json(json.dumps(values)), codec)
    except InputError:
        return
    assert all(type(token) is int for token in ids)

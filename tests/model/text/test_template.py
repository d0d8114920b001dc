# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Where chat templates are found, which one is used, and what is said about one that cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nld_trt.errors import InputError
from nld_trt.model.text.template import ChatTemplate, choose, read_templates, select

NAMED = {"default": "D", "tool_use": "T", "rag": "R"}


def sources(folder: Path, declared: Any = None) -> dict[str, str]:
    found = read_templates(folder, {} if declared is None else {"chat_template": declared})
    return {name: template.source for name, template in found.items()}


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (None, {}),
        ("text", {"default": "text"}),
        ([{"name": name, "template": text} for name, text in NAMED.items()], NAMED),
        (NAMED, NAMED),
        ([], {}),
        ({}, {}),
    ],
)
def test_every_form_of_the_settings_is_read(tmp_path, declared, expected):
    assert sources(tmp_path, declared) == expected


def test_files_are_used_in_the_place_of_the_settings(tmp_path):
    (tmp_path / "chat_template.jinja").write_text("file", encoding="utf-8")
    assert sources(tmp_path, NAMED) == {"default": "file"}
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "rag.jinja").write_text("extra", encoding="utf-8")
    assert sources(tmp_path, NAMED) == {"default": "file", "rag": "extra"}


def test_a_byte_order_mark_is_no_part_of_a_template(tmp_path):
    (tmp_path / "chat_template.jinja").write_bytes(b"\xef\xbb\xbfa\xc3\xa9")
    assert sources(tmp_path) == {"default": "aé"}


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (5, "chat_template in tokenizer_config.json is a JSON number"),
        (True, "chat_template in tokenizer_config.json is a JSON true or false"),
        ([["default", "x"]], "is a JSON list"),
        ([{"template": "x"}], "is a JSON list"),
        (["x"], "is a JSON list"),
        ([{"name": "default"}], "the chat template default in tokenizer_config.json is null, not a text"),
        ([{"name": "a", "template": "x"}, {"name": "b", "template": ["x"]}], "the chat template b in"),
        ({"default": {"template": "x"}}, "the chat template default in tokenizer_config.json is object, not a text"),
        ({"default": "x", "other": 3}, "the chat template other in tokenizer_config.json is number, not a text"),
    ],
    ids=json.dumps,
)
def test_what_is_no_text_is_refused_by_name(tmp_path, declared, message):
    with pytest.raises(InputError) as caught:
        sources(tmp_path, declared)
    assert message in caught.value.what


def test_a_latin_1_file_is_refused_by_name_with_the_remedy(tmp_path):
    (tmp_path / "chat_template.jinja").write_bytes("é".encode("latin-1"))
    with pytest.raises(InputError) as caught:
        sources(tmp_path)
    assert "chat_template.jinja is not UTF-8" in caught.value.what
    assert "iconv" in caught.value.fix


def templates(*names: str) -> dict[str, ChatTemplate]:
    return {name: ChatTemplate(name, name.upper()) for name in names}


@pytest.mark.parametrize(
    ("names", "tools", "expected"),
    [
        (("default",), True, "DEFAULT"),
        (("default", "tool_use"), True, "TOOL_USE"),
        (("default", "tool_use"), False, "DEFAULT"),
        (("tool_use", "rag"), True, "TOOL_USE"),
    ],
)
def test_the_default_is_used_and_with_tools_the_one_for_them(names, tools, expected):
    assert select(templates(*names), tools=tools).source == expected


def test_several_without_a_default_need_a_name():
    with pytest.raises(InputError) as caught:
        select(templates("tool_use", "rag"), tools=False)
    assert "no default: tool_use, rag" in caught.value.what
    assert "--chat-template tool_use" in caught.value.fix


def test_a_template_that_was_asked_for_is_used_for_everything(tmp_path):
    path = tmp_path / "mine.jinja"
    path.write_text("mine", encoding="utf-8")
    for asked, expected in (("rag", "RAG"), (str(path), "mine")):
        chosen = choose(templates("default", "tool_use", "rag"), asked)
        assert {select(chosen, tools=tools).source for tools in (True, False)} == {expected}


def test_a_name_goes_before_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("rag").write_text("file", encoding="utf-8")
    assert select(choose(templates("rag"), "rag"), tools=False).source == "RAG"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is neither a file nor one of the checkpoint's; its templates are default"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff", "is not UTF-8"),
        (b"a\n{% if %}", "is not a template: "),
        (b"a\n{{ x | nothing }}", "is not a template: No filter named 'nothing'. in line 2"),
        (b"{% for x in y %}{% generation %}{% break %}{% endgeneration %}{% endfor %}", "is not a template: Syntax"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_when_it_is_chosen(tmp_path, content, message):
    path = tmp_path / "mine.jinja"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        choose(templates("default"), str(path))
    assert message in caught.value.what
    assert "mine.jinja" in caught.value.what


def test_a_folder_is_no_template(tmp_path):
    with pytest.raises(InputError, match="neither a file nor"):
        choose({}, str(tmp_path))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("\n{{ raise_exception('Roles must alternate') }}", "in line 2: Roles must alternate"),
        ("{{ nothing.at_all }}", "in line 1: 'nothing' is undefined"),
        ("\n\n{{ 1 + 'a' }}", "in line 3: TypeError: "),
        ("{{ 1 / 0 }}", "in line 1: ZeroDivisionError: division by zero"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError"),
        ("{{ ''.__class__.__mro__ }}", "in line 1: access to attribute '__class__'"),
        ("{{ messages.append(1) }}", "in line 1: "),
        ("{% include 'x' %}", "in line 1: "),
    ],
)
def test_an_error_names_template_line_and_sentence(source, message):
    template = ChatTemplate("the chat template t.jinja", source)
    with pytest.raises(InputError) as caught:
        template.render({"messages": []})
    assert caught.value.what.startswith("the chat template t.jinja rejected the messages")
    assert message in caught.value.what


def test_a_template_is_compiled_once():
    template = ChatTemplate("t", "{{ x }}")
    assert [template.render({"x": 1}), template._compiled is template._compiled] == ["1", True]


def test_rendering_does_not_change_the_values():
    values = {"messages": [{"role": "user"}]}
    source = "{% set ns = namespace(m=messages) %}{% set ns.m = ns.m + [1] %}{% set messages = [] %}{{ ns.m | length }}"
    assert ChatTemplate("t", source).render(values) == "2"
    assert values == {"messages": [{"role": "user"}]}

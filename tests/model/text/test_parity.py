# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Chat templates render, and texts become ids, as in transformers: with which template authors test their templates."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from nld_trt.errors import InputError
from nld_trt.model.text.codec import Codec
from nld_trt.model.text.conversation import Conversation
from nld_trt.model.text.template import ChatTemplate

ROOT = Path(__file__).parents[3]
TINY = ROOT / "examples" / "nld-tiny"

TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Find <b>it</b> & 'that' for größer",
        "parameters": {"type": "object", "properties": {"z": {"type": "string"}, "a": {"enum": [1, 2.5, None, True]}}},
    },
}
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Sei höflich."},
    {"role": "user", "content": "  What is <b>2 + 2</b>?\n"},
    {
        "role": "assistant",
        "content": None,
        "reasoning": "Add.",
        "tool_calls": [{"type": "function", "function": {"name": "look_up", "arguments": {"z": "é", "a": [1, 2]}}}],
    },
    {"role": "tool", "content": "4", "name": "look_up"},
    {"role": "user", "content": [{"type": "text", "text": "And 日本?"}, {"type": "image"}]},
]
DOCUMENTS = [{"title": "One", "text": "1 < 2"}]

# Pieces of templates. Each is a whole statement or expression, so they can be put after one another.
PIECES: tuple[str, ...] = (
    # tags of transformers
    "{% generation %}said{% endgeneration %}",
    "{%- generation -%} {% set inner = 1 %}{{ messages | length }} {%- endgeneration -%}{{ inner is defined }}",
    "{% for m in messages %}{% generation %}{{ m.role }}{{ loop.index }}{% endgeneration %}{% endfor %}",
    "{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
    "{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}{{ m['role'] }}{% endfor %}",
    # functions of transformers
    "{{ strftime_now('%Y') }}",
    "{{ strftime_now('%d %b %Y') if strftime_now is defined else '26 Jul 2024' }}",
    "{{ raise_exception('Roles <must> alternate: é') }}",
    "{{ raise_exception(5) }}",
    "{{ raise_exception() }}",
    # tojson
    "{{ '<b>&\\'\"</b>' | tojson }}",
    "{{ tools | tojson }}",
    "{{ tools | tojson(indent=4) }}",
    "{{ messages | tojson(ensure_ascii=True) }}",
    "{{ tools | tojson(sort_keys=True, separators=(',', ':')) }}",
    "{{ messages[2].tool_calls[0].function.arguments | tojson(indent=2) }}",
    "{{ {1: none, 'b': true, 'c': 1.50} | tojson }}",
    "{{ undefined_thing | tojson }}",
    "{{ range(3) | tojson }}",
    "{{ (1, 'a', [2]) | tojson }}",
    # what is None and what is undefined
    "{{ tools is none }} {{ documents is none }} {{ tools is defined }} {{ documents is defined }}",
    "{% if tools is not none %}some{% else %}none{% endif %}",
    "{% if not tools %}no tools{% endif %}{{ documents or 'no documents' }}",
    "{{ tools }}|{{ documents }}",
    "{{ nothing }}|{{ nothing is defined }}|{{ nothing is none }}|{{ nothing | default('x') }}",
    "{{ nothing.at_all }}",
    "{{ messages[0].nothing }}|{{ messages[0]['nothing'] is defined }}",
    "{{ messages[2].content is defined }} {{ messages[2].content is none }}",
    "{{ messages[99] is defined }}",
    "{{ 'a' + nothing }}",
    "{% for x in nothing %}{{ x }}{% else %}empty{% endfor %}",
    "{{ add_generation_prompt }} {{ bos_token }} {{ eos_token }} {{ pad_token is defined }}",
    "{{ enable_thinking }} {{ custom.deep[0] }}",
    "{{ true }} {{ True }} {{ none }} {{ None }} {{ false }}",
    # methods and operators of Python
    "{{ 'a-b-c'.rsplit('-', 1) }}",
    "{{ 'a</think>b'.split('</think>')[-1].lstrip('\\n') }}",
    "{{ '%s is %d' % ('x', 3) }}",
    "{{ '{} and {:>5}'.format('a', 'b') }}",
    "{{ 7 % 3 }} {{ 7 // 2 }} {{ 7 / 2 }} {{ 2 ** 8 }} {{ -7 // 2 }} {{ -7 % 3 }}",
    "{{ ' a '.strip() }}{{ 'ab'.upper() }}{{ 'aXb'.title() }}{{ 'x'.zfill(3) }}{{ 'abc'.partition('b') }}",
    "{{ 'abc'.startswith(('a', 'b')) }} {{ 'abc'.removeprefix('a') }} {{ 'a,b'.split(',') }} {{ 'ß'.casefold() }}",
    "{{ 'abc'[::-1] }} {{ 'abc'[1:] }} {{ 'abc'[-1] }} {{ messages[1:][0].role }} {{ messages[::-1][0].role }}",
    "{{ messages[0].items() | list }} {{ messages[0].keys() | list }} {{ messages[0].get('x', 'y') }}",
    "{% for key, value in messages[0].items() %}{{ key }}={{ value }};{% endfor %}",
    "{{ {'a': 1}.update({'b': 2}) }}",
    "{{ [1].append(2) }}",
    "{{ messages.append(1) }}",
    "{{ messages.pop() }}",
    "{{ dict(a=1, b=[2]) }} {{ dict([('x', 1)]).x }} {{ dict.fromkeys(['a'], 0) }}",
    "{{ 'é' ~ 1 ~ none ~ 2.0 }}",
    "{{ 'a' in 'abc' }} {{ 'role' in messages[0] }} {{ 1 in [1, 2] }} {{ 'x' not in 'abc' }}",
    "{{ 1 if false }}|{{ 'yes' if messages else 'no' }}",
    "{{ 1 + 'a' }}",
    "{{ 1 / 0 }}",
    "{{ [1, 2, 3] == [1, 2, 3] }} {{ 1.0 }} {{ 1e3 }} {{ 10 ** 30 }} {{ 0.1 + 0.2 }} {{ 1_000 }}",
    "{{ 1 < 2 < 3 }} {{ not 1 }} {{ 'a' < 'b' }}",
    # what the sandbox forbids
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__ }}",
    "{{ messages.__class__ }}",
    "{{ range(999999) | length }}",
    "{{ raise_exception.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{% set n = namespace(_hidden=1) %}{{ n._hidden }}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ dict.__class__ }}",
    # namespaces, macros, scopes
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}{% set ns.c = 3 %}{{ ns.c }}",
    "{% set n = namespace() %}{% set n._x = 1 %}{{ n._x }}",
    "{% set x = 1 %}{% for m in messages %}{% set x = 2 %}{% endfor %}{{ x }}",
    "{% macro show(m, end='!') %}{{ m.role }}{{ end }}{{ caller is defined }}{% endmacro %}{{ show(messages[0]) }}",
    "{% macro a(x) %}[{{ x }}{{ varargs }}{{ kwargs }}]{% endmacro %}{{ a(1, 2, k=3) }}",
    "{% macro w() %}<{{ caller() }}>{% endmacro %}{% call w() %}in{% endcall %}",
    "{%- macro r(n) -%}{% if n > 0 %}{{ n }}{{ r(n - 1) }}{% endif %}{%- endmacro -%}{{ r(4) }}",
    "{% set block %}a {{ 1 }}\n{% endset %}[{{ block }}]",
    "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}",
    "{% filter upper %}ab{{ 'c' }}{% endfilter %}",
    # loops
    "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.length }}{% endfor %}",
    "{% for m in messages %}{{ loop.previtem.role if loop.previtem }}{{ loop.last }}{% endfor %}",
    "{% for m in messages %}{{ loop.nextitem.role if not loop.last }}{{ loop.nextitem is defined }}{% endfor %}",
    "{% for m in messages if m.role == 'user' %}{{ loop.cycle('a', 'b') }}{{ loop.revindex }}{% endfor %}",
    "{% for m in messages recursive %}{{ loop.depth }}{% endfor %}",
    "{% for m in messages %}{{ loop.changed(m.role) }}{% endfor %}",
    # filters and tests
    "{{ messages | map(attribute='role') | join(', ') }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
    "{{ messages | rejectattr('content', 'none') | list | length }}",
    "{{ messages | groupby('role') | map('first') | list }}",
    "{{ ' x ' | trim }}{{ 'abc' | capitalize }}{{ 'a b' | replace(' ', '_') }}{{ [3, 1] | sort }}{{ 'abc' | first }}",
    "{{ '<b>' | e }}{{ '<b>' | safe }}{{ 'a' | string }}{{ '3' | int + 1 }}{{ '3.5' | float }}{{ -3 | abs }}",
    "{{ [1, 2, 3] | sum }} {{ [1, 2, 2] | unique | list }} {{ {'b': 1, 'a': 2} | dictsort }} {{ 3.567 | round(1) }}",
    "{{ 'a b c' | wordcount }} {{ 'abc' | indent(2, first=true) }} {{ 'a' | center(5) }}",
    "{{ [[1], [2]] | batch(1) | list }} {{ [1, 2, 3] | slice(2) | list }}",
    "{{ {'b': 1, 'a': [2]} | pprint }} {{ 'a b' | urlencode }} {{ 1500000 | filesizeformat }} {{ 'a' | wordwrap }}",
    "{{ messages | last | attr('role') }} {{ messages[0] | items | list }} {{ 'x' | list }} {{ '%s' | format('q') }}",
    "{{ 'text' is string }} {{ 1 is number }} {{ messages is iterable }} {{ messages[0] is mapping }}",
    "{{ [] is sequence }} {{ 'a' is sequence }} {{ messages[0] is sequence }} {{ true is number }}",
    "{{ 2 is even }} {{ 3 is divisibleby(3) }} {{ none is none }} {{ 'a' is in ['a'] }} {{ 1 is eq 1 }}",
    "{{ true is boolean }} {{ 'a' is callable }} {{ 'A' is upper }} {{ 1.5 is float }} {{ 1 is integer }}",
    "{{ 'no' is filter }} {{ 'upper' is filter }} {{ 'defined' is test }} {{ 1 is sameas 1 }} {{ 'b' is gt 'a' }}",
    "{{ 'a' | no_such_filter }}",
    "{{ lipsum is defined }} {{ cycler is defined }} {{ joiner(', ') is callable }}",
    # content in parts
    "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{{ p.type }}"
    "{% endfor %}{% endif %}{% endfor %}",
    "{{ messages[-1].content[0].text }}",
    "{{ messages[2].reasoning_content }}|{{ messages[2].thinking }}|{{ messages[2].reasoning }}",
    # white space, comments, syntax
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n",
    "a\n  {%- if true -%}\n  b\n  {%- endif -%}\nc\n\n",
    "x {#- a comment -#} y\n{# another #}\nz",
    "{% raw %}{{ not rendered }}{% endraw %}",
    "  {%+ if true %} kept{% endif %}",
    "tab\t{{ 'in\\tside' }}\r\n{{ '\\u00e9\\n' }}",
    "{{ '\\\\' }}{{ \"it's\" }}",
    "{% if %}",
    "{{ unclosed",
    "{% for %}",
    "{% generation %}never ended",
    "{% unknown_tag %}",
    "{% include 'other' %}",
    "{% extends 'other' %}",
    "{% import 'other' as o %}",
    "{% do messages %}",
    "{% trans %}a{% endtrans %}",
    "{% autoescape true %}{{ '<' }}{% endautoescape %}",
    "{% for m in messages %}{% generation %}{% break %}{% endgeneration %}{% endfor %}",
)  # fmt: skip

SPECIAL = {"bos_token": "<s>", "eos_token": "<|im_end|>"}


def theirs(template: str, messages: list[dict[str, Any]], **values: Any) -> str:
    """What apply_chat_template of transformers makes of the messages, before it makes tokens."""
    given = [{name: value for name, value in message.items() if value is not None} for message in messages]
    texts, _ = render_jinja_template([given], chat_template=template, add_generation_prompt=True, **values)
    return texts[0]


def ours(template: str, messages: list[dict[str, Any]], *, tools: Any = None, documents: Any = None, **values: Any):
    conversation = Conversation(messages, tools, documents, values)
    return ChatTemplate("the chat template", template).render(conversation.template_values)


def outcome(render: Any, *args: Any, **values: Any) -> str | None:
    """The rendered text, or None where rendering fails in whatever way."""
    try:
        return render(*args, **values)
    except Exception:
        return None


def agree(template: str, messages: list[dict[str, Any]], **values: Any) -> None:
    expected = outcome(theirs, template, messages, **values)
    assert outcome(ours, template, messages, **values) == expected, template


@pytest.mark.parametrize("given_tools", [None, [TOOL]], ids=["no tools", "tools"])
@pytest.mark.parametrize("piece", PIECES)
def test_a_piece_of_a_template_renders_as_in_transformers(piece, given_tools):
    documents = None if given_tools is None else DOCUMENTS
    custom = {"custom": {"deep": ["<é>"]}, "enable_thinking": False}
    agree(piece, MESSAGES, tools=given_tools, documents=documents, **SPECIAL, **custom)


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
PARTS = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS}), max_size=2)
TURNS = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool"])},
        optional={
            "content": st.none() | TEXTS | PARTS,
            "reasoning_content": st.none() | TEXTS,
            "thinking": st.none() | TEXTS,
            "reasoning": st.none() | TEXTS,
            "tool_calls": st.none() | st.just([{"function": {"name": "f", "arguments": {"a": "<é>"}}}]),
            "extra": JSON,
        },
    ),
    min_size=1,
    max_size=5,
)  # fmt: skip
# Pieces that fail for any messages would make whole templates fail, so that nothing is compared.
RENDERING = [piece for piece in PIECES if outcome(theirs, piece, MESSAGES, tools=[TOOL], **SPECIAL) is not None]
# What shows everything that a template is given.
SHOW = "{{ messages | tojson }}{% for m in messages %}{{ m }}{% endfor %}{{ tools }}{{ documents }}{{ variable }}"


@given(
    st.lists(st.sampled_from(RENDERING), min_size=1, max_size=4),
    st.lists(st.sampled_from(["", "\n", "  ", "\n  ", "text {", "%}\n\n", "\t\n"]), min_size=4, max_size=4),
    TURNS,
    st.none() | st.just([]) | st.just([TOOL]),
)
def test_templates_of_many_pieces_render_as_in_transformers(pieces, gaps, turns, tools):
    template = "".join(gap + piece for gap, piece in zip(gaps, pieces, strict=False))
    agree(template, turns, tools=tools, **SPECIAL)


@given(TURNS, JSON, st.none() | st.lists(st.dictionaries(TEXTS, JSON, max_size=2), max_size=2))
@settings(max_examples=50)
def test_a_template_sees_the_same_values_as_in_transformers(turns, variable, documents):
    agree(SHOW, turns, documents=documents, variable=variable)


def test_the_sentence_of_raise_exception_is_shown_with_template_and_line():
    template = (
        "{% macro check(m) %}\n{% if m.role == 'tool' %}\n{{ raise_exception('No <tools> here, é') }}\n{% endif %}"
    )
    template += "\n{% endmacro %}\n{% for m in messages %}{{ check(m) }}{% endfor %}"
    with pytest.raises(InputError) as caught:
        ours(template, MESSAGES)
    assert caught.value.what == "the chat template rejected the messages in line 3: No <tools> here, é"


# Token ids


def framing(folder: Path, **config: Any) -> Path:
    """nld-tiny's tokenizer that puts BOS before and EOS after every text, with a template that writes BOS."""
    settings = json.loads((TINY / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **config}), encoding="utf-8")
    template = "{{ bos_token }}" + (TINY / "chat_template.jinja").read_text(encoding="utf-8")
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    tokenizer = Tokenizer.from_file(str(TINY / "tokenizer.json"))
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A <|im_end|>", special_tokens=[("<s>", 1), ("<|im_end|>", 11)]
    )
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=32, pad_id=1, pad_token="<s>")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def framed(tmp_path_factory) -> Path:
    return framing(tmp_path_factory.mktemp("framing"))


@cache
def opened(folder: Path) -> tuple[Codec, Any]:
    codec = Codec.open(folder)
    assert codec is not None
    return codec, AutoTokenizer.from_pretrained(folder)


SAID = TEXTS | st.just("<s> <|im_end|>")
CHATS = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": SAID}), min_size=1, max_size=4
)


def expected_ids(tokenizer: Any, messages: list[dict[str, str]], **values: Any) -> tuple[int, ...]:
    found = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=False, **{"enable_thinking": False, **values}
    )
    return tuple(found)


@given(CHATS, st.booleans())
def test_a_conversation_has_the_ids_of_transformers(framed, messages, plain):
    codec, tokenizer = opened(TINY if plain else framed)
    assert codec.encode_chat(messages) == expected_ids(tokenizer, messages)


@given(CHATS)
def test_a_rendered_conversation_that_is_sent_raw_has_the_same_ids(framed, messages):
    """So with OpenAI-like fronts, which render the template themselves."""
    codec, tokenizer = opened(framed)
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, enable_thinking=False, tokenize=False)
    assert text.startswith("<s>")
    assert codec.encode_prompt(text, raw=True) == codec.encode_chat(messages) == expected_ids(tokenizer, messages)


@given(TEXTS)
def test_a_raw_text_without_bos_has_the_ids_of_transformers(framed, text):
    codec, tokenizer = opened(framed)
    assert codec.encode_prompt(text, raw=True) == tuple(tokenizer(text)["input_ids"])


def test_bos_is_known_from_the_post_processor_where_no_file_names_it(tmp_path):
    folder = framing(tmp_path, bos_token=None)
    codec, tokenizer = opened(folder)
    assert codec.encode("<s>Hi") == tuple(tokenizer("<s>Hi", add_special_tokens=False)["input_ids"])
    assert codec.encode("Hi") == tuple(tokenizer("Hi")["input_ids"])


@pytest.mark.parametrize(
    "config",
    [
        {
            "added_tokens_decoder": {
                "399": {"content": "<new>", "special": True},
                "2": {"content": "<other>", "special": False},
            }
        },
        {"added_tokens_decoder": {"4": {"content": " word", "lstrip": True, "normalized": False, "special": False}}},
        {"added_tokens_decoder": {"1": {"content": "<s>", "rstrip": True, "special": True}}},
        {"pad_token": "<pad>", "unk_token": "<new>"},
        {"image_token": "<image>", "extra_special_tokens": ["<new>", "<other>"]},
        {"additional_special_tokens": ["<new>"]},
        {"extra_special_tokens": {"audio_token": "<new>"}},
        {"split_special_tokens": True},
    ],
    ids=lambda config: ",".join(config),
)
def test_tokens_of_the_settings_are_the_tokenizers_too(tmp_path, config):
    codec, tokenizer = opened(framing(tmp_path, **config))
    for text in ("a<new>b <other> word <pad><image>", "<s>a<|im_end|>", "a word<new>"):
        ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
        assert codec.encode_part(text) == ids
        assert codec.decode(ids) == tokenizer.decode(ids, skip_special_tokens=True)


def test_named_tokens_are_variables_of_the_template(tmp_path):
    folder = framing(tmp_path, image_token="<image>", extra_special_tokens={"audio_token": "<s>"}, pad_token="<pad>")
    show = "{{ image_token }} {{ audio_token }} {{ pad_token }} {{ bos_token }} {{ cls_token is defined }}"
    (folder / "chat_template.jinja").write_text(show, encoding="utf-8")
    codec, tokenizer = opened(folder)
    messages = [{"role": "user", "content": "a"}]
    assert codec.encode_chat(messages) == expected_ids(tokenizer, messages)


def test_the_older_map_of_special_tokens_counts_where_transformers_reads_it(tmp_path):
    folder = framing(tmp_path)
    tokens = {"bos_token": {"content": "<|im_end|>", "lstrip": True}, "pad_token": "<pad>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(tokens), encoding="utf-8")
    codec, tokenizer = opened(folder)
    messages = [{"role": "user", "content": "a <pad> <|im_end|>"}]
    assert codec.encode_chat(messages) == expected_ids(tokenizer, messages)


NAMED = {"default": "D{{ messages[0].content }}", "tool_use": "T{{ tools | tojson }}", "rag": "R{{ documents }}"}


@pytest.mark.parametrize(
    "form",
    [[{"name": name, "template": text} for name, text in NAMED.items()], NAMED],
    ids=["list", "object"],
)
@pytest.mark.parametrize("tools", [None, [], [TOOL]], ids=["none", "empty", "one"])
def test_the_template_of_several_is_chosen_as_in_transformers(tmp_path, form, tools):
    folder = framing(tmp_path, chat_template=form)
    (folder / "chat_template.jinja").unlink()
    codec = Codec.open(folder)
    # transformers takes an object for templates by name only once it is loaded, and a list from the file.
    tokenizer = AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "user", "content": "a"}]
    assert codec.encode_chat(messages, tools=tools) == expected_ids(tokenizer, messages, tools=tools)
    for name in NAMED:
        named = Codec.open(folder, name)
        wanted = expected_ids(tokenizer, messages, tools=tools, chat_template=name)
        assert named.encode_chat(messages, tools=tools) == wanted


@pytest.mark.parametrize("default", [True, False], ids=["default", "no default"])
def test_template_files_go_before_the_settings_as_in_transformers(tmp_path, default):
    folder = framing(tmp_path, chat_template=[{"name": "default", "template": "from the settings"}])
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("T{{ tools }}", encoding="utf-8")
    if not default:
        (folder / "chat_template.jinja").unlink()
    codec, tokenizer = opened(folder)
    messages = [{"role": "user", "content": "a"}]
    for tools in ([TOOL], None):
        if default or tools:
            assert codec.encode_chat(messages, tools=tools) == expected_ids(tokenizer, messages, tools=tools)
    assert sorted(codec.templates) == sorted(["default", "tool_use"] if default else ["tool_use"])


def test_an_added_token_keeps_its_properties(tmp_path):
    """A token that takes the white space around it, as mask tokens of many tokenizers do."""
    folder = framing(tmp_path)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens([AddedToken("<wide>", lstrip=True, rstrip=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
    codec, reference = opened(folder)
    text = "a  <wide>  b"
    assert codec.encode_part(text) == tuple(reference(text, add_special_tokens=False)["input_ids"])

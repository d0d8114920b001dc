# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint's tokenizer and template before anything is built: what is refused, and what is only said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from nld_trt.errors import InputError
from nld_trt.model.text.check import check_text
from nld_trt.model.text.codec import Codec

VOCAB_SIZE = 400


@pytest.fixture
def folder(root, tmp_path) -> Path:
    """nld-tiny's text files, to be damaged."""
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(root / "examples" / "nld-tiny" / name, tmp_path)
    return tmp_path


def edit_settings(folder: Path, **changes: Any) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def edit_tokenizer(folder: Path, edit: Callable[[Tokenizer], Any]) -> None:
    path = str(folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    edit(tokenizer)
    tokenizer.save(path)


def write_template(folder: Path, text: str) -> None:
    (folder / "chat_template.jinja").write_text(text, encoding="utf-8")


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        check_text(folder, VOCAB_SIZE)
    return str(caught.value)


def test_a_whole_checkpoint_needs_no_word(folder):
    assert check_text(folder, VOCAB_SIZE) == []


# Refused


def test_every_id_must_be_below_the_vocabulary(folder):
    assert check_text(folder, VOCAB_SIZE) == []
    edit_tokenizer(folder, lambda tokenizer: tokenizer.add_tokens(["<extra>"]))
    text = refusal(folder)
    assert "has 1 tokens that the model, with a vocabulary of 400, has no embedding for" in text
    assert "'<extra>' has the id 400" in text


def test_many_ids_beyond_the_vocabulary_are_counted_and_some_listed(folder):
    edit_tokenizer(folder, lambda tokenizer: tokenizer.add_tokens([f"<extra{n}>" for n in range(50)]))
    text = refusal(folder)
    assert "has 50 tokens" in text
    assert "and 30 more" in text


def test_a_token_that_only_the_settings_add_counts(folder):
    edit_settings(folder, added_tokens_decoder={"399": {"content": "<extra>"}})
    assert "'<extra>' has the id 400" in refusal(folder)


def test_a_special_token_that_the_tokenizer_lacks_counts(folder):
    edit_settings(folder, pad_token="<pad>")
    assert "'<pad>' has the id 400" in refusal(folder)


def test_an_id_of_the_post_processor_counts(folder):
    def frame(tokenizer: Tokenizer) -> None:
        tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1234)])

    edit_tokenizer(folder, frame)
    assert "the post-processor adds the id 1234" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", b"{}", "cannot be read: Model missing"),
        ("tokenizer.json", b"", "cannot be read"),
        ("tokenizer.json", b"[1", "cannot be read"),
        ("tokenizer.json", '{"é": 1}'.encode("latin-1"), "is not UTF-8"),
        ("tokenizer_config.json", b"[]", "holds a JSON list; an object was expected"),
        ("tokenizer_config.json", b"{", "is not valid JSON"),
        ("tokenizer_config.json", b'{"n": ' + b"1" * 5000 + b"}", "is not JSON that can be read"),
        ("tokenizer_config.json", b"[" * 100_000, "is not JSON"),
        ("tokenizer_config.json", '{"é": 1}'.encode("latin-1"), "is not UTF-8"),
        ("tokenizer_config.json", b'{"bos_token": "\\ud800"}', "which is not a text"),
        ("tokenizer_config.json", b'{"added_tokens_decoder": {"1": {"content": "\\ud800"}}}', "which is not a token"),
        ("tokenizer_config.json", b'{"bos_token": 5}', "bos_token in tokenizer_config.json is 5, which is not a text"),
        ("tokenizer_config.json", b'{"eos_token": {"id": 5}}', "eos_token in tokenizer_config.json is {'id': 5}"),
        ("tokenizer_config.json", b'{"added_tokens_decoder": [1]}', "is not an object of tokens by id"),
        ("tokenizer_config.json", b'{"added_tokens_decoder": {"a": {}}}', "is not an object of tokens by id"),
        ("tokenizer_config.json", b'{"added_tokens_decoder": {"1": 5}}', "token 1 in added_tokens_decoder"),
        ("tokenizer_config.json", b'{"added_tokens_decoder": {"1": {"wide": 5}}}', "which is not a token"),
        ("special_tokens_map.json", b"nothing", "is not valid JSON"),
        ("chat_template.jinja", b"", "chat_template.jinja is empty"),
        ("chat_template.jinja", b"\n{% if", "chat_template.jinja is not a template"),
        ("chat_template.jinja", "é".encode("latin-1"), "chat_template.jinja is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name(folder, name, content, message):
    (folder / name).write_bytes(content)
    text = refusal(folder)
    assert message in text
    assert name in text


@pytest.mark.parametrize("value", [5, [1], [{"name": "default", "template": 7}], {"default": None}])
def test_a_template_of_the_settings_that_is_no_text_is_refused(folder, value):
    (folder / "chat_template.jinja").unlink()
    edit_settings(folder, chat_template=value)
    assert "tokenizer_config.json" in refusal(folder)


def test_every_named_template_is_looked_at(folder):
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "rag.jinja").write_text("{% for %}", encoding="utf-8")
    assert "additional_chat_templates/rag.jinja is not a template" in refusal(folder)


# Only said


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
def test_a_byte_order_mark_changes_nothing(root, folder, name):
    (folder / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes())
    assert check_text(folder, VOCAB_SIZE) == []
    plain = Codec.open(root / "examples" / "nld-tiny")
    assert Codec.open(folder).encode_prompt("Hi") == plain.encode_prompt("Hi")


def test_a_missing_tokenizer_is_said_with_what_will_not_work(folder):
    (folder / "tokenizer.json").unlink()
    (warning,) = check_text(folder, VOCAB_SIZE)
    assert "has no tokenizer.json: text prompts" in warning
    assert "prompt_ids" in warning
    (folder / "tekken.json").write_text("{}", encoding="utf-8")
    assert "(tekken.json is not read)" in check_text(folder, VOCAB_SIZE)[0]


def test_a_missing_template_is_said_with_what_to_pass(folder):
    (folder / "chat_template.jinja").unlink()
    (warning,) = check_text(folder, VOCAB_SIZE)
    assert "has no chat template" in warning
    assert "--raw or --chat-template FILE" in warning


def test_templates_without_a_default_are_said_with_their_names(folder):
    (folder / "chat_template.jinja").unlink()
    edit_settings(folder, chat_template={"chat": "{{ messages }}", "rag": "{{ documents }}"})
    (warning,) = check_text(folder, VOCAB_SIZE)
    assert "--chat-template NAME with one of chat, rag" in warning


def test_a_template_that_demands_a_system_message_is_said_and_not_refused(folder):
    write_template(
        folder,
        "{% if messages[0].role != 'system' %}{{ raise_exception('System first!') }}{% endif %}"
        "{{ messages[1].content }}",
    )
    (warning,) = check_text(folder, VOCAB_SIZE)
    assert warning.startswith("a prompt without --system will not work: ")
    assert warning.endswith("in line 1: System first!")


def test_a_template_that_forbids_a_system_message_needs_no_word(folder):
    write_template(
        folder,
        "{% if messages[0].role == 'system' %}{{ raise_exception('No system') }}{% endif %}{{ messages[0].content }}",
    )
    assert check_text(folder, VOCAB_SIZE) == []


def test_a_template_that_renders_nothing_of_the_kind_is_said_with_its_sentences(folder):
    write_template(folder, "{{ raise_exception('Tools only') }}")
    (warning,) = check_text(folder, VOCAB_SIZE)
    assert warning.startswith("no conversation could be rendered")
    assert warning.count("Tools only") == 2


def test_a_template_that_leaves_out_the_question_is_said(folder):
    write_template(folder, "[{'name': 'default', 'template': 'x'}]")
    (warning,) = check_text(folder, VOCAB_SIZE)
    assert "leaves out what the user says" in warning

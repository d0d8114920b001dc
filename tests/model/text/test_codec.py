# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Chat rendering, incremental decoding and stop strings, with nld-tiny's tokenizer."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nld_trt.errors import InputError
from nld_trt.model.text.codec import Codec


@pytest.fixture(scope="module")
def codec(root):
    return Codec.open(root / "examples" / "nld-tiny")


def streamed(codec, text, stop=()):
    stream = codec.stream(stop)
    pieces = []
    for token in codec.encode(text):
        pieces.append(stream.push(token))
        if stream.stopped:
            break
    return "".join(pieces) + stream.finish()


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40).filter(
    lambda text: "<" not in text
)


@given(TEXTS)
def test_streamed_pieces_join_to_the_text(codec, text):
    assert streamed(codec, text) == text


@given(TEXTS, st.lists(st.text("abc \n", min_size=1, max_size=3), min_size=1, max_size=3))
def test_text_ends_before_the_first_stop_string_and_never_shows_part_of_it(codec, text, stop):
    places = [text.find(item) for item in stop if item in text]
    expected = text[: min(places)] if places else text
    # Stop strings are looked for after every token, so one that ends earlier can win over one that starts earlier.
    result = streamed(codec, text, stop)
    assert expected.startswith(result) or result.startswith(expected)
    assert not any(item in result for item in stop)


MARKED = "<think>Hm.</think>Yes.<|im_start|>"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "Hm.Yes."),
        ({"keep_markers": True}, "<think>Hm.</think>Yes."),
        ({"keep_markers": True, "prompt": "<|im_start|>assistant\n<think>\n"}, "<think><think>Hm.</think>Yes."),
        ({"keep_markers": True, "prompt": "<|im_start|>assistant\n<think></think>"}, "<think>Hm.</think>Yes."),
        ({"prompt": "<|im_start|>assistant\n<think>\n"}, "Hm.Yes."),
    ],
    ids=["dropped", "kept", "opened by the prompt", "closed by the prompt", "opened and dropped"],
)
def test_markers_are_in_the_text_where_that_is_asked_for(codec, options, expected):
    """Other special tokens never are."""
    given = {name: codec.encode_part(value) if name == "prompt" else value for name, value in options.items()}
    stream = codec.stream(**given)
    assert "".join([stream.push(token) for token in codec.encode_part(MARKED)]) + stream.finish() == expected


def test_chat_has_the_empty_system_block_and_closed_thinking(codec):
    ids = codec.encode_prompt("Hello")
    text = codec._tokenizer.decode(list(ids), skip_special_tokens=False)
    assert (
        text
        == "<|im_start|>system\n<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n<think></think>"
    )


def test_raw_prompt_is_not_templated(codec):
    assert codec.decode(codec.encode_prompt("Hello", raw=True)) == "Hello"


def test_system_message_is_rendered(codec):
    text = codec._tokenizer.decode(list(codec.encode_prompt("Hi", system="Be brief.")), skip_special_tokens=False)
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n")


def test_folder_without_tokenizer_has_no_codec(tmp_path):
    assert Codec.open(tmp_path) is None


def test_broken_tokenizer_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="tokenizer"):
        Codec.open(tmp_path)


@pytest.mark.parametrize("damage", [b"\xe9", b"", b"{% if"], ids=["latin-1", "empty", "syntax"])
def test_a_file_takes_the_place_of_a_template_that_cannot_be_used(codec, tmp_path, root, damage):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(root / "examples" / "nld-tiny" / name, tmp_path)
    (tmp_path / "chat_template.jinja").write_bytes(damage)
    good = root / "examples" / "nld-tiny" / "chat_template.jinja"
    assert Codec.open(tmp_path, str(good)).encode_prompt("Hi") == codec.encode_prompt("Hi")


def test_a_template_without_a_tokenizer_is_refused(tmp_path, root):
    with pytest.raises(InputError, match="has no tokenizer to go with it"):
        Codec.open(tmp_path, str(root / "examples" / "nld-tiny" / "chat_template.jinja"))


def test_missing_template_says_what_to_do(codec, tmp_path, root):
    (tmp_path / "tokenizer.json").write_bytes((root / "examples" / "nld-tiny" / "tokenizer.json").read_bytes())
    with pytest.raises(InputError, match="--raw"):
        Codec.open(tmp_path).encode_prompt("Hi")


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer_config.json"])
def test_file_that_is_not_utf_8_is_refused_by_name(converted, tmp_path, name) -> None:
    shutil.copytree(converted("nld-tiny"), tmp_path / "copy")
    (tmp_path / "copy" / name).write_bytes('{"x": "é"}'.encode("latin-1"))
    with pytest.raises(InputError, match=f"{name} is not UTF-8"):
        Codec.open(tmp_path / "copy")


def test_a_text_that_is_far_too_long_is_refused_after_its_first_part(root, monkeypatch):
    codec = Codec.open(root / "examples" / "nld-tiny", max_tokens=512)
    counted = []
    count = codec._count
    monkeypatch.setattr(codec, "_count", lambda text: counted.append(len(text)) or count(text))
    with pytest.raises(InputError, match="more than 512 tokens already; the engine was built for 512"):
        codec.encode("word " * 1_000_000)
    assert sum(counted) < 100_000


def test_a_long_text_that_fits_keeps_its_tokens(root):
    free = Codec.open(root / "examples" / "nld-tiny")
    text = "sort 42, é and 日本 " * 5_000
    ids = free.encode(text)
    assert Codec.open(root / "examples" / "nld-tiny", max_tokens=len(ids)).encode(text) == ids

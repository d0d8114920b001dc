# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Calibration documents: every form of source, what is refused by name, and the sets that ship with nld-trt."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from nld_trt.errors import InputError
from nld_trt.model.text.codec import Codec
from nld_trt.quantization.dataset import DEFAULT_SET, Document, read_documents, shipped_sets

EOS, BOS = 11, 1
TINY = Path(__file__).parents[2] / "examples" / "nld-tiny"


@cache
def codec() -> Codec:
    made = Codec.open(TINY)
    assert made is not None
    return made


def read(source: object, *, with_codec: Codec | None = None, size: int = 1000, seq_len: int = 512, seed: int = 0):
    return read_documents(str(source), with_codec or codec(), eos_token_id=EOS, size=size, seq_len=seq_len, seed=seed)


def refusal(source: object, **options: object) -> InputError:
    with pytest.raises(InputError) as caught:
        read(source, **options)
    return caught.value


@pytest.fixture
def write(tmp_path):
    def lines(*values: object) -> Path:
        path = tmp_path / "mine.jsonl"
        texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
        path.write_text("\n".join(texts), encoding="utf-8")
        return path

    return lines


@pytest.fixture(scope="module")
def framing_codec(tmp_path_factory) -> Codec:
    """nld-tiny's codec with a tokenizer that puts BOS before and EOS after every text."""
    folder = tmp_path_factory.mktemp("framing")
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        shutil.copy(TINY / name, folder)
    tokenizer = Tokenizer.from_file(str(TINY / "tokenizer.json"))
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A <|im_end|>", special_tokens=[("<s>", BOS), ("<|im_end|>", EOS)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    made = Codec.open(folder)
    assert made is not None
    return made


# Forms


@pytest.mark.parametrize("key", ["answer", "response"])
def test_an_exchange_is_the_rendered_prompt_and_the_answer_with_eos(write, key):
    prompt = codec().encode_prompt("Add 1 and 2.")
    (document,) = read(write({"prompt": "Add 1 and 2.", key: "It is 3.", "id": 7}))
    assert document == Document((*prompt, *codec().encode("It is 3."), EOS), len(prompt))


def test_an_exchange_takes_system_and_raw_as_a_request_does(write):
    (document,) = read(write({"prompt": "Hi", "answer": "Ho", "system": "Be brief."}))
    assert document.ids[: document.answer_start] == codec().encode_prompt("Hi", system="Be brief.")
    (document,) = read(write({"prompt": "Hi", "answer": "Ho", "raw": True}))
    assert document.ids[: document.answer_start] == codec().encode("Hi")


def test_messages_are_rendered_up_to_the_last_answer(write):
    turns = [
        {"role": "system", "content": ""},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "Three?"},
    ]
    (document,) = read(write({"messages": [*turns, {"role": "assistant", "content": "Four."}]}))
    prompt = codec().encode_chat(turns)
    assert document == Document((*prompt, *codec().encode("Four."), EOS), len(prompt))


def test_tools_of_a_conversation_reach_the_template(write, tmp_path):
    template = tmp_path / "tools.jinja"
    template.write_text("{{ tools[0].name }}:{{ messages[0].content }}", encoding="utf-8")
    showing = Codec.open(TINY, str(template))
    turns = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "Two."}]
    (document,) = read(write({"messages": turns, "tools": [{"name": "f"}]}), with_codec=showing)
    assert document.ids[: document.answer_start] == showing.encode_part("f:One?")


def test_text_is_one_document_per_line(write):
    (document,) = read(write({"text": "apples and pears"}))
    assert document == Document(codec().encode("apples and pears"), 1)


def test_an_answer_continues_its_prompt_without_bos_or_a_second_eos(write, framing_codec):
    (document,) = read(write({"prompt": "Hi", "answer": "It is 3."}), with_codec=framing_codec)
    assert document.ids[document.answer_start :] == (*codec().encode("It is 3."), EOS)
    (document,) = read(write({"text": "It is 3."}), with_codec=framing_codec)
    assert document.ids == (BOS, *codec().encode("It is 3."), EOS)


def test_blank_lines_and_a_byte_order_mark_are_skipped(write):
    path = write("", {"text": "one two"}, "  ", {"text": "three four"}, "")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read(path)) == 2


def test_a_text_file_is_cut_into_documents(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("Sorted: apples, pens, books and lamps.\n" * 20, encoding="utf-8")
    ids = codec().encode(path.read_text(encoding="utf-8"))
    found = read(path, seq_len=50)
    assert sorted(document.ids for document in found) == sorted(ids[i : i + 50] for i in range(0, len(ids), 50))
    assert {document.answer_start for document in found} == {1}


# Length and choice


def test_documents_are_cut(write):
    path = write({"prompt": "Add 1 and 2.", "answer": "It is 3. " * 30})
    (whole,), (cut,) = read(path), read(path, seq_len=40)
    assert cut == Document(whole.ids[:40], whole.answer_start)


def test_documents_without_room_for_a_block_are_passed_over_for_others(write):
    path = write(*[{"prompt": "long " * 50, "answer": "a"}] * 5, {"prompt": "short", "answer": "b"})
    (document,) = read(path, size=1, seq_len=60)
    assert document.holds_block
    assert document.ids[: document.answer_start] == codec().encode_prompt("short")


def test_size_draws_some_and_the_seed_says_which(write):
    path = write(*[{"text": f"number {n}"} for n in range(50)])
    some = read(path, size=8)
    assert len(some) == 8
    assert some == read(path, size=8)
    assert some != read(path, size=8, seed=1)
    assert set(some) < set(read(path))
    assert len(set(read(path))) == 50


# Refusals


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "it is not JSON"),
        ('["a"]', "it is a JSON list"),
        ({"question": "a", "reply": "b"}, "it has 'question', 'reply', and none of messages, prompt, text"),
        ({"prompt": "a"}, "neither of answer and response"),
        ({"prompt": "a", "answer": "b", "response": "c"}, "both of answer and response"),
        ({"prompt": "a", "answer": ""}, "answer is empty"),
        ({"prompt": 3, "answer": "b"}, "prompt is 3, which is not a text"),
        ({"prompt": "a", "answer": "b", "raw": "yes"}, "raw is 'yes'"),
        ({"prompt": "a", "answer": "b", "raw": True, "system": "c"}, "a raw prompt has no system message"),
        ({"text": " \n"}, "text is empty"),
        ({"text": "a\ud800"}, "not Unicode"),
        ({"prompt": "a", "answer": "b", "system": "\ud800"}, "system has text that is not Unicode"),
        ('{"text": 1' + "0" * 4999 + "}", "a whole number of 5000 digits"),
        ("[" * 100_000 + "]" * 100_000, "nested more than 100 deep"),
        ('{"text": "a", "text": "b"}', "has 'text' twice"),
        ('{"text": "\0"}', "it is not JSON"),
        (
            {"messages": [{"role": "user", "content": "a", "n": 1e999}, {"role": "assistant", "content": "b"}]},
            "has inf",
        ),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "tools": "f"},
            "tools is 'f'; it must be a list of objects",
        ),
        ({"messages": []}, "at least two objects"),
        ({"messages": [{"role": "user", "content": "a"}, {"content": "b"}]}, "it has no role"),
        ({"messages": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]}, "from 'user'"),
        ({"messages": [{"role": "user", "content": ["a"]}, {"role": "assistant", "content": "b"}]}, "not a text"),
    ],
)
def test_a_bad_line_is_refused_with_its_number(write, line, message):
    path = write({"text": "fine as it is"}, "", line)
    assert f"line 3 of {path} cannot be used" in refusal(path).what
    assert message in refusal(path).what


def test_a_bad_line_is_found_even_if_it_would_not_be_drawn(write):
    path = write(*[{"text": "fine as it is"}] * 40, "{")
    assert "line 41" in refusal(path, size=1).what


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.txt"])
@pytest.mark.parametrize("content", ["", " \n\n"])
def test_an_empty_file_is_refused(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert "is empty" in refusal(tmp_path / name).what


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.txt"])
def test_a_file_that_is_not_text_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xff\xfe\x00")
    assert "is not UTF-8 text" in refusal(tmp_path / name).what


def test_a_file_of_another_kind_and_a_folder_are_refused(tmp_path):
    (tmp_path / "mine.csv").write_text("a,b", encoding="utf-8")
    for path in (tmp_path / "mine.csv", tmp_path):
        assert ".jsonl or .txt" in (refusal(path).fix or "")


@pytest.mark.parametrize("source", ["nonesuch", "folder/nonesuch.jsonl"])
def test_an_unknown_set_or_missing_file_lists_what_there_is(source):
    error = refusal(source)
    assert repr(source) in error.what
    assert any("general, nld-tiny" in line for line in error.details)
    assert "--calib-dataset general" in (error.fix or "")


def test_documents_that_are_all_too_short_are_refused(write):
    assert "none of the 2 documents" in refusal(write({"text": "a"}, {"text": "b"})).what
    error = refusal(write({"prompt": "Add 1 and 2.", "answer": "It is 3."}), seq_len=10)
    assert "within 10 tokens" in error.what
    assert "--calib-seq-len" in (error.fix or "")


@pytest.mark.parametrize("options", [{"size": 0}, {"seq_len": 1}])
def test_nothing_to_calibrate_on_is_refused(write, options):
    assert "--calib-size" in (refusal(write({"text": "fine as it is"}), **options).fix or "")


def test_a_checkpoint_without_a_tokenizer_is_told_which_files_it_needs():
    with pytest.raises(InputError, match=r"tokenizer\.json, and chat_template\.jinja"):
        read_documents("general", None, eos_token_id=EOS, size=1, seq_len=64, seed=0)


def test_a_checkpoint_without_a_chat_template_is_told_what_it_can_take(write, tmp_path):
    shutil.copy(TINY / "tokenizer.json", tmp_path)
    plain = Codec.open(tmp_path)
    error = refusal(write({"prompt": "a", "answer": "b"}), with_codec=plain)
    assert "no chat template" in error.what
    assert '"raw": true' in (error.fix or "")
    assert read(write({"prompt": "a", "answer": "b", "raw": True}), with_codec=plain)


# Shipped sets


@pytest.mark.parametrize("name", ["general", "nld-tiny"])
def test_a_shipped_set_is_read_by_its_name(name):
    lines = shipped_sets()[name].read_text(encoding="utf-8").splitlines()
    assert len(read(name, seq_len=100_000)) == len(lines)


def test_the_readme_describes_every_shipped_set_with_its_size():
    folder = shipped_sets()[DEFAULT_SET].parent
    readme = (folder / "README.md").read_text(encoding="utf-8")
    for name, path in shipped_sets().items():
        assert f"| `{name}` | {len(path.read_text(encoding='utf-8').splitlines())} |" in readme


def test_general_is_large_and_varied_enough():
    lines = [json.loads(line) for line in shipped_sets()["general"].read_text(encoding="utf-8").splitlines()]
    words = [len(line["answer"].split()) for line in lines]
    assert len(lines) >= 96
    assert sum(words) + sum(len(line["prompt"].split()) for line in lines) >= 16_000
    assert len({line["prompt"] for line in lines}) == len(lines)


def test_the_set_of_nld_tiny_is_what_its_script_writes(root):
    script = root / "examples" / "nld-tiny" / "make_calibration.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, encoding="utf-8")
    assert done.stdout == shipped_sets()["nld-tiny"].read_text(encoding="utf-8")


def test_the_set_of_nld_tiny_has_nothing_that_nld_tiny_is_evaluated_on(root):
    def prompts(path: Path) -> list[str]:
        return [json.loads(line)["prompt"] for line in path.read_text(encoding="utf-8").splitlines()]

    shipped = prompts(shipped_sets()["nld-tiny"])
    assert len(set(shipped)) == 256
    assert set(shipped).isdisjoint(prompts(root / "examples" / "nld-tiny" / "eval.jsonl"))

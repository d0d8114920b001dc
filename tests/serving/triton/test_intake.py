# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""From input tensors to a request: values, defaults, and refusals that name the tensor."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nld_trt.errors import InputError
from nld_trt.model.generation import GenerationDefaults
from nld_trt.model.text.codec import Codec
from nld_trt.serving.settings import Defaults, ServingSettings
from nld_trt.serving.triton.intake import Intake, check_parameters, read_inputs
from nld_trt.serving.triton.sizes import text_limit
from nld_trt.serving.triton.tensors import INPUTS

STANDARD = ServingSettings()


@pytest.fixture(scope="module")
def info(served_engine):
    return served_engine.info("ort")


@pytest.fixture(scope="module")
def codec(served_engine):
    return Codec.open(served_engine.path)


@pytest.fixture
def read(info, codec):
    def read(*, settings: ServingSettings = STANDARD, tokenizer: Any = codec, **values: Any) -> Intake:
        tensors = {}
        for name, value in values.items():
            items = value if isinstance(value, list) else [value]
            items = [item.encode() if isinstance(item, str) else item for item in items]
            tensors[name] = np.array([items], dtype=INPUTS[name].numpy_type)
        return read_inputs(tensors, settings, info, tokenizer)

    return read


def test_what_is_left_out_has_the_settings_defaults(read, info, codec) -> None:
    intake = read(text_input="hello")
    request = intake.request
    assert request.prompt_ids == codec.encode_prompt("hello")
    assert (request.mode, request.block_length, request.threshold) == ("auto", info.config.block_size, 0.9)
    assert request.lora == info.has_adapter
    assert len(request.prompt_ids) + request.max_new_tokens == info.limits.max_seq_len
    assert (intake.stream, intake.echo, intake.reply_ids) == (False, "", False)


def test_a_default_block_is_cut_where_quadratic_passes_have_fewer_drafts(info, codec) -> None:
    few = replace(info, limits=replace(info.limits, max_quadratic_length=6))
    tensors = {"text_input": np.array([[b"hello"]], dtype=object), "mode": np.array([[b"quadratic"]], dtype=object)}
    settings = ServingSettings(defaults=Defaults(block_length=20))
    assert read_inputs(tensors, settings, few, codec).request.block_length == 6
    asked = tensors | {"block_length": np.array([[7]], dtype=np.int32)}
    with pytest.raises(InputError, match="block_length is 7"):
        read_inputs(asked, settings, few, codec)


def test_settings_change_the_defaults(read) -> None:
    defaults = Defaults(mode="diffusion", block_length=8, max_tokens=7, lora=False, raw=True)
    request = read(text_input="hello", settings=ServingSettings(defaults=defaults)).request
    assert (request.mode, request.block_length, request.max_new_tokens, request.lora) == ("diffusion", 8, 7, False)
    assert request.threshold == 0.9


def test_every_value_reaches_the_request(read) -> None:
    intake = read(
        input_ids=[1, 2, 3], stream=True, max_tokens=9, mode="diffusion", block_length=4, threshold=0.5,
        stop_words=["a", "bé"], ignore_eos=True, return_num_input_tokens=False, seed=2**63 - 1, temperature=0.5,
        acceptance="match",
    )  # fmt: skip
    request = intake.request
    assert request.prompt_ids == (1, 2, 3)
    assert (request.max_new_tokens, request.block_length, request.threshold) == (9, 4, 0.5)
    assert (request.stop, request.eos_token_ids) == (("a", "bé"), ())
    assert (request.temperature, request.seed, request.acceptance) == (0.5, 2**63 - 1, "match")
    assert (intake.stream, intake.reply_ids, intake.count_input, intake.count_output) == (True, True, False, True)


@pytest.mark.parametrize(("stated", "ids"), [([11], (11,)), ([11, 27, 30], (11, 27, 30)), ([-1], ())])
def test_tokens_that_end_the_answer_reach_the_request(read, stated, ids) -> None:
    assert read(text_input="a", eos_token_id=stated).request.eos_token_ids == ids
    assert read(text_input="a", eos_token_id=stated, ignore_eos=True).request.eos_token_ids == ()


@pytest.mark.parametrize(
    ("stated", "message"),
    [([], "eos_token_id is an empty list"), ([11, 10**6], "eos_token_id is 1000000"), ([*range(9)], "has 9 token ids")],
)
def test_tokens_that_cannot_end_an_answer_are_refused_by_name(read, stated, message) -> None:
    with pytest.raises(InputError, match=message):
        read(text_input="a", eos_token_id=stated)


def test_every_eos_of_the_checkpoint_counts(info, codec) -> None:
    several = replace(info, config=info.config.with_eos([11, 27]))
    tensors = {"text_input": np.array([[b"hello"]], dtype=object)}
    assert read_inputs(tensors, STANDARD, several, codec).request.eos_token_ids == (11, 27)


def test_the_checkpoints_defaults_stand_behind_those_of_the_server_and_the_client(info, codec) -> None:
    sampling = replace(info, generation=GenerationDefaults(max_new_tokens=9, temperature=0.7, top_p=0.9))
    tensors = {"text_input": np.array([[b"hello"]], dtype=object)}
    plain = read_inputs(tensors, STANDARD, sampling, codec).request
    assert (plain.max_new_tokens, plain.temperature, plain.top_p) == (9, 0.7, 0.9)
    server = ServingSettings(defaults=Defaults(max_tokens=12))
    assert read_inputs(tensors, server, sampling, codec).request.max_new_tokens == 12
    asked = tensors | {"max_tokens": np.array([[5]], np.int32), "temperature": np.array([[0]], np.float32)}
    client = read_inputs(asked, server, sampling, codec).request
    assert (client.max_new_tokens, client.temperature, client.seed) == (5, 0.0, None)


def test_filters_reach_the_request(read) -> None:
    request = read(text_input="a", temperature=1.0, top_k=7, top_p=0.5, min_p=0.25).request
    assert (request.top_k, request.top_p, request.min_p) == (7, 0.5, 0.25)


def test_negative_threshold_means_one_token_per_pass(read) -> None:
    assert read(text_input="a", mode="diffusion", threshold=-1.0).request.threshold is None


def test_system_and_raw_change_the_prompt(read, codec) -> None:
    assert read(text_input="a", system="s").request.prompt_ids == codec.encode_prompt("a", system="s")
    assert read(text_input="a", raw=True).request.prompt_ids == codec.encode("a")


def test_prompt_is_echoed_on_request(read) -> None:
    assert read(text_input="a", exclude_input_in_output=False).echo == "a"


USER = {"role": "user", "content": "a"}
TURNS = [USER, {"role": "assistant", "content": "b"}, {"role": "user", "content": "ç"}]


def test_messages_are_rendered_whatever_raw_defaults_to(read, codec) -> None:
    raw = ServingSettings(defaults=Defaults(raw=True))
    for settings in (STANDARD, raw):
        intake = read(messages=json.dumps(TURNS), settings=settings, exclude_input_in_output=False)
        assert intake.request.prompt_ids == codec.encode_chat(TURNS)
        assert intake.echo == ""


@pytest.mark.parametrize("prompt", [{"text_input": "a"}, {"messages": json.dumps([USER])}], ids=["text", "messages"])
def test_tools_documents_and_variables_reach_the_template(read, served_engine, tmp_path, prompt) -> None:
    template = tmp_path / "show.jinja"
    template.write_text("{{ tools }}{{ documents }}{{ enable_thinking }}{{ messages[0].content }}", encoding="utf-8")
    showing = Codec.open(served_engine.path, str(template))
    beside = {"tools": '[{"n": 1}]', "documents": '[{"d": "é"}]', "chat_template_kwargs": '{"enable_thinking": true}'}
    request = read(**prompt, **beside, tokenizer=showing).request
    assert showing.decode(request.prompt_ids) == "[{'n': 1}][{'d': 'é'}]Truea"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"messages": json.dumps([USER]), "text_input": "a"}, "give either text_input or input_ids, or messages"),
        ({"messages": json.dumps([USER]), "input_ids": [1]}, "give either text_input or input_ids, or messages"),
        ({"messages": ""}, "messages is not JSON"),
        ({"messages": "[]"}, "messages is []; it must be a list"),
        ({"messages": "null"}, "messages is None; it must be a list"),
        ({"messages": "[" * 60_000}, "messages is "),
        (
            {"messages": '[{"role": "user", "content": 1' + "0" * 4999 + "}]"},
            "messages has a whole number of 5000 digits",
        ),
        ({"messages": '[{"role": "user", "role": "user"}]'}, "messages has 'role' twice"),
        ({"messages": b"\xff"}, "messages is not UTF-8"),
        ({"messages": '[{"role": "user", "content": "\\ud800"}]'}, "messages[0] has text that is not Unicode"),
        ({"messages": '[{"role": "user", "content": "a", "x": [NaN]}]'}, "messages[0] has nan"),
        ({"messages": json.dumps([USER]), "raw": True}, "messages leave no place for raw"),
        ({"messages": json.dumps([USER]), "system": "a"}, "messages leave no place for a system message"),
        ({"text_input": "a", "raw": True, "tools": "[{}]"}, "a raw prompt has no place for tools"),
        ({"input_ids": [1], "tools": "[{}]"}, "input_ids leave no place for tools"),
        ({"text_input": "a", "tools": "{}"}, "tools is {}; it must be a list of objects"),
        ({"text_input": "a", "chat_template_kwargs": "[1]"}, "chat_template_kwargs is [1]; it must be an object"),
        ({"text_input": "a", "messages": ["[]", "[]"]}, "messages has 2 values"),
    ],
)
def test_a_conversation_that_cannot_be_used_is_refused_by_name(read, values, message) -> None:
    with pytest.raises(InputError) as caught:
        read(**values)
    assert caught.value.what.startswith(message)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"text_input": ""}, "text_input is empty"),
        ({}, "give either text_input or input_ids"),
        ({"text_input": "a", "input_ids": [1]}, "give either text_input or input_ids"),
        ({"input_ids": []}, "input_ids is empty"),
        ({"input_ids": [1, 9999]}, "9999"),
        ({"text_input": "a", "mode": "fast"}, "mode is 'fast'; supported: ar, diffusion, linear"),
        ({"text_input": "a", "max_tokens": 0}, "max_tokens is 0"),
        ({"text_input": "a", "max_tokens": 600}, "max_tokens is 600; after a prompt of"),
        ({"input_ids": [1] * 512}, "the prompt has 512 tokens"),
        ({"text_input": "a", "block_length": 0}, "block_length is 0"),
        ({"text_input": "a", "block_length": 33}, "block_length is 33"),
        ({"text_input": "a", "threshold": 1.5}, "threshold is 1.5"),
        ({"text_input": "a", "threshold": float("nan")}, "threshold is nan"),
        ({"text_input": "a", "temperature": -0.5}, "temperature is -0.5; it must be"),
        ({"text_input": "a", "temperature": float("nan")}, "temperature is nan"),
        ({"text_input": "a", "top_k": -1}, "top_k is -1"),
        ({"text_input": "a", "top_p": 0.0}, "top_p is 0.0"),
        ({"text_input": "a", "min_p": 1.0}, "min_p is 1.0"),
        ({"text_input": "a", "seed": 2**63}, "seed is 9223372036854775808"),
        ({"text_input": "a", "acceptance": "always"}, "acceptance is 'always'"),
        ({"text_input": "a", "mode": "diffusion", "top_p": 0.5}, "top_p is 0.5; diffusion"),
        ({"text_input": "a", "presence_penalty": 1.0}, "presence_penalty is 1"),
        ({"text_input": "a", "system": "s", "raw": True}, "system has no place in a raw prompt"),
        ({"text_input": b"\xff"}, "text_input is not UTF-8"),
        ({"text_input": "a", "max_tokens": [1, 2]}, "max_tokens has 2 values"),
    ],
)
def test_refusals_name_the_tensor(read, values, message) -> None:
    with pytest.raises(InputError) as caught:
        read(**values)
    assert message in str(caught.value)


def test_penalties_are_ignored_where_the_settings_say_so_and_the_temperature_is_not(read) -> None:
    settings = ServingSettings(ignore_penalties=True)
    request = read(text_input="a", temperature=1.0, frequency_penalty=0.5, settings=settings).request
    assert request.temperature == 1.0


@pytest.mark.parametrize("given", ["", [], [""], ["", ""]])
def test_an_empty_stop_word_is_none(read, given) -> None:
    assert read(text_input="a", stop_words=given).request.stop == ()


def test_stop_words_beside_an_empty_one_count(read) -> None:
    assert read(text_input="a", stop_words=["", "x", ""]).request.stop == ("x",)


@pytest.mark.parametrize(
    "parameters",
    [
        {}, {"bad_words": ""}, {"beam_width": 1}, {"return_log_probs": False}, {"pad_id": 2, "end_id": 2},
        {"random_seed": 0, "anything": "x"}, {"repetition_penalty": 1.0}, {"num_return_sequences": 1},
    ],
)  # fmt: skip
def test_parameters_that_ask_for_nothing_are_accepted(parameters) -> None:
    check_parameters(parameters, STANDARD)


@pytest.mark.parametrize(
    "parameters",
    [
        {"bad_words": "x"}, {"beam_width": 4}, {"return_log_probs": True}, {"num_return_sequences": 2},
        {"repetition_penalty": 1.1}, {"return_context_logits": True}, {"embedding_bias_words": "x"},
    ],
)  # fmt: skip
def test_parameters_that_ask_for_what_the_model_has_not_are_refused_by_name(parameters) -> None:
    (name,) = parameters
    with pytest.raises(InputError, match=f"{name} is .* only .* is supported"):
        check_parameters(parameters, STANDARD)


def test_repetition_penalty_is_ignored_with_the_other_penalties() -> None:
    check_parameters({"repetition_penalty": 1.1}, ServingSettings(ignore_penalties=True))


def test_text_needs_a_tokenizer(read) -> None:
    with pytest.raises(InputError, match="the engine has no tokenizer"):
        read(text_input="a", tokenizer=None)
    assert read(input_ids=[1], tokenizer=None).request.prompt_ids == (1,)


def test_settings_survive_the_file() -> None:
    settings = ServingSettings(backend="ort", defaults=Defaults(mode="ar", max_tokens=5), max_waiting=3)
    assert ServingSettings.from_dict(settings.to_dict()) == settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 9}, "schema version 9"),
        ({"max_witing": 3}, "max_witing"),
        ({"max_waiting": -1}, "max_waiting is -1"),
        ({"defaults": {"mode": "quick"}}, "'quick'"),
        ({"defaults": {"thresholds": {"diffusion": 2.0}}}, "threshold of diffusion is 2.0"),
        ({"defaults": {"thresholds": {"diffusion": "high"}}}, "threshold of diffusion is high"),
        ({"defaults": {"thresholds": None}}, "thresholds in model.json is None; it must be an object"),
        ({"defaults": None}, "defaults in model.json is None; it must be an object"),
        ({"defaults": {"raw": "no"}}, "raw in model.json is 'no'; it must be true or false"),
        ({"defaults": {"block_length": True}}, "block_length in model.json is True; it must be a whole number"),
        ({"defaults": {"max_tokens": "5"}}, "max_tokens in model.json is '5'; it must be a whole number or null"),
        ({"max_waiting": None}, "max_waiting in model.json is None; it must be a whole number"),
        ({"ignore_penalties": "no"}, "ignore_penalties in model.json is 'no'; it must be true or false"),
        ({"backend": 3}, "backend in model.json is 3; it must be a text or null"),
    ],
)
def test_edited_settings_are_checked(change, message) -> None:
    with pytest.raises(InputError, match=message):
        ServingSettings.from_dict({**ServingSettings().to_dict(), **change})


@pytest.mark.parametrize("name", ["text_input", "messages", "tools", "system"])
def test_more_text_than_the_engine_can_use_is_refused_unread(read, info, name) -> None:
    text = "[" * (text_limit(info.limits.max_seq_len) + 1)  # as JSON this would have its own error
    beside = {} if name in ("text_input", "messages") else {"text_input": "a"}
    with pytest.raises(InputError, match=rf"{name} has \d+ bytes.*the engine was built for 512 tokens"):
        read(**beside, **{name: text}, tokenizer=None)


def test_many_empty_texts_are_not_free(read, info) -> None:
    with pytest.raises(InputError, match=r"stop_words has \d+ bytes"):
        read(text_input="a", stop_words=[""] * text_limit(info.limits.max_seq_len))


def test_more_token_ids_than_fit_are_refused_by_number(read) -> None:
    with pytest.raises(InputError, match="input_ids has 513 values; the engine was built for 512"):
        read(input_ids=[7] * 513)


def test_thinking_budget_takes_the_tokenizer_s_marker(read, codec) -> None:
    request = read(text_input="a", mode="ar", max_thinking_tokens=5).request
    assert (request.max_thinking_tokens, request.end_think_token_id) == (5, codec.end_of_thinking)
    assert codec.encode_part("</think>") == (codec.end_of_thinking,)
    assert read(text_input="a", mode="ar", max_thinking_tokens=5, end_think_token_id=7).request.end_think_token_id == 7


def test_thinking_budget_without_a_marker_is_refused(read) -> None:
    with pytest.raises(InputError, match="max_thinking_tokens and end_think_token_id must be given together"):
        read(input_ids=[5], mode="ar", max_thinking_tokens=5, tokenizer=None)
    with pytest.raises(InputError, match="max_thinking_tokens is not supported in linear mode"):
        read(text_input="a", mode="linear", max_thinking_tokens=5)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What the served model is asked for, given the body of a request."""

from __future__ import annotations

from typing import Any

import pytest

from nld_trt.serving.openai.errors import ApiError
from nld_trt.serving.openai.forms import CHAT, TEXT
from nld_trt.serving.openai.request import Asked, parse
from nld_trt.serving.triton.tensors import INPUTS

MESSAGES = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def chat(**body: Any) -> Asked:
    return parse({"messages": MESSAGES, **body}, CHAT, ["nld"], max_choices=16)


def text(**body: Any) -> Asked:
    return parse(body, TEXT, ["nld"], max_choices=16)


def refusal(ask: Any, **body: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        ask(**body)
    return caught.value


def test_settings_reach_the_model_under_the_names_of_its_inputs() -> None:
    asked = chat(
        temperature=0.5, top_p=0.9, top_k=40, min_p=0.1, seed=7, stop="END", max_tokens=20, mode="diffusion",
        block_length=8, threshold=0.8, lora=False, frequency_penalty=0, ignore_eos=True, user="me", store=True,
    )  # fmt: skip
    assert asked.inputs == [
        {
            "messages": MESSAGES, "keep_markers": True, "stream": False,
            "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "seed": 7,
            "stop_words": ["END"], "max_tokens": 20, "mode": "diffusion", "block_length": 8, "threshold": 0.8,
            "lora": False, "frequency_penalty": 0, "ignore_eos": True,
        }
    ]  # fmt: skip
    assert set(asked.inputs[0]) <= set(INPUTS)


def test_settings_that_are_null_are_left_to_the_server() -> None:
    names = ("temperature", "top_p", "seed", "stop", "max_tokens", "mode", "n", "stream", "stream_options", "tools")
    assert chat(**dict.fromkeys(names)).inputs == [{"messages": MESSAGES, "keep_markers": True, "stream": False}]


def test_the_newer_limit_of_tokens_wins() -> None:
    assert chat(max_tokens=5, max_completion_tokens=9).inputs[0]["max_tokens"] == 9


def test_every_token_as_clients_of_vllm_write_it() -> None:
    assert chat(top_k=-1).inputs[0]["top_k"] == 0


def test_text_parts_become_one_text_and_developers_systems() -> None:
    parts = [{"type": "text", "text": "Convert "}, {"type": "text", "text": "37 km."}]
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    assert chat(messages=messages).inputs[0]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Convert 37 km."},
    ]


def test_variables_of_the_template_are_passed_on() -> None:
    variables = {"enable_thinking": True}
    assert chat(chat_template_kwargs=variables).inputs[0]["chat_template_kwargs"] == variables


def test_tools_are_for_the_template_and_for_reading_calls() -> None:
    asked = chat(tools=[TOOL], tool_choice="auto")
    assert asked.inputs[0]["tools"] == [TOOL]
    assert asked.tools is not None
    assert list(asked.tools.schemas) == ["f"]
    assert chat(tools=[TOOL], tool_choice="none").tools is None
    assert refusal(text, prompt="a", tools=[TOOL]).param == "tools"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [('{"a": 1}', {"a": 1}), ("", {}), ({"a": 1}, {"a": 1}), ("no JSON", "no JSON"), ("[1]", "[1]")],
    ids=str,
)
def test_arguments_of_earlier_calls_are_objects_for_the_template(arguments: Any, expected: Any) -> None:
    call = {"id": "x", "type": "function", "function": {"name": "f", "arguments": arguments}}
    messages = [*MESSAGES, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "4"}]
    sent = chat(messages=messages).inputs[0]["messages"]
    assert sent[1]["tool_calls"][0]["function"] == {"name": "f", "arguments": expected}
    assert sent[1]["tool_calls"][0]["id"] == "x"


def test_choices_have_seeds_of_their_own() -> None:
    assert [each["seed"] for each in chat(n=3, seed=2**63 - 2).inputs] == [2**63 - 2, 2**63 - 1, 0]
    assert all("seed" not in each for each in chat(n=3).inputs)


def test_choices_are_in_the_order_of_the_prompts() -> None:
    asked = text(prompt=["a", [5, 6]], n=2)
    assert [each.get("text_input", each.get("input_ids")) for each in asked.inputs] == ["a", "a", [5, 6], [5, 6]]
    assert [asked.prompt_of(choice) for choice in range(4)] == [0, 0, 1, 1]


def test_texts_are_used_without_the_template() -> None:
    assert text(prompt="a", echo=True).inputs == [
        {"stream": False, "text_input": "a", "raw": True, "exclude_input_in_output": False}
    ]
    assert text(prompt=[5, 6]).inputs == [{"stream": False, "input_ids": [5, 6]}]


def test_penalty_that_is_no_input_is_a_parameter() -> None:
    assert chat(repetition_penalty=1.2).parameters == {"repetition_penalty": "1.2"}
    assert chat(repetition_penalty=1.0).parameters == {}


def test_stream_options() -> None:
    asked = chat(stream=True, stream_options={"include_usage": True, "continuous_usage_stats": True})
    assert (asked.stream, asked.include_usage, asked.continuous_usage) == (True, True, True)
    assert asked.inputs[0]["stream"] is True


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "logprobs": ({"logprobs": True}, "logprobs"),
    "top_logprobs": ({"top_logprobs": 3}, "top_logprobs"),
    "tools without a name": ({"tools": [{"type": "function", "function": {}}]}, "tools"),
    "tools of another type": ({"tools": [{"type": "retrieval"}]}, "tools"),
    "tools as object": ({"tools": {}}, "tools"),
    "a tool that must be called": ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
    "a tool by name": (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        "tool_choice",
    ),
    "response_format": ({"response_format": {"type": "json_object"}}, "response_format"),
    "logit_bias": ({"logit_bias": {"5": 1}}, "logit_bias"),
    "min_tokens": ({"min_tokens": 5}, "min_tokens"),
    "type of temperature": ({"temperature": "hot"}, "temperature"),
    "boolean seed": ({"seed": True}, "seed"),
    "stop": ({"stop": [1]}, "stop"),
    "max_tokens": ({"max_tokens": 1.5}, "max_tokens"),
    "stream": ({"stream": "yes"}, "stream"),
    "stream_options without stream": ({"stream_options": {"include_usage": True}}, "stream_options"),
    "no choice": ({"n": 0}, "n"),
    "too many choices": ({"n": 17}, "n"),
    "no messages": ({"messages": []}, "messages"),
    "messages of another type": ({"messages": "Hello"}, "messages"),
    "image": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "messages[0].content[0]",
    ),
    "template variables": ({"chat_template_kwargs": []}, "messages"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_honoured_is_refused_by_name(case: str) -> None:
    body, param = REFUSED[case]
    error = refusal(chat, **body)
    assert (error.kind.status, error.param) == (400, param)
    assert param.partition("[")[0] in str(error) or case == "template variables"


@pytest.mark.parametrize(
    "body", [{"logprobs": False}, {"tools": []}, {"response_format": {"type": "text"}}, {"logit_bias": {}},
             {"tools": [TOOL], "tool_choice": "none"}, {"tool_choice": "auto"}, {"min_tokens": 5, "ignore_eos": True}],
    ids=str,
)  # fmt: skip
def test_fields_without_an_effect_are_accepted(body: dict[str, Any]) -> None:
    assert set(chat(**body).inputs[0]) - {"ignore_eos"} == {"messages", "keep_markers", "stream"}


@pytest.mark.parametrize("prompt", [None, [], 5, ["a", 5], [[]], [True]], ids=str)
def test_prompt_of_another_type_is_refused(prompt: Any) -> None:
    assert refusal(text, prompt=prompt).param == "prompt"


def test_logprobs_of_zero_tokens_are_logprobs() -> None:
    assert refusal(text, prompt="a", logprobs=0).param == "logprobs"


def test_models() -> None:
    assert chat().model == "nld"
    error = refusal(chat, model="gpt")
    assert (error.kind.status, error.kind.code) == (404, "model_not_found")
    with pytest.raises(ApiError, match="has a, b"):
        parse({"messages": MESSAGES}, CHAT, ["a", "b"], max_choices=1)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Tool calls and thinking as real clients read them. langchain and litellm: ``make test-clients``."""

from __future__ import annotations

import json

import openai
import pytest

from tests.serving.openai.conftest import MESSAGES, chunk

SCHEMA = {"type": "object", "properties": {"zone": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "time", "description": "Tells the time.", "parameters": SCHEMA}}]
ANSWER = (
    chunk("<think>Which zone?", 4), chunk("</think>\n\n<tool_call>\n<function=time>\n<parameter=zone>", 5),
    chunk("\nUTC\n</parameter>\n</function>\n</tool", 5), chunk("_call>", 1, "stop", cached_tokens=4),
)  # fmt: skip


@pytest.fixture
def url(front_with) -> str:
    return f"{front_with(*ANSWER).front.listener.url}/v1"


@pytest.mark.parametrize("stream", [False, True])
def test_openai_reads_calls_and_thinking(url, stream: bool) -> None:
    with openai.OpenAI(base_url=url, api_key="any", max_retries=0) as client:
        if stream:
            with client.chat.completions.stream(model="nld", messages=MESSAGES, tools=TOOLS) as events:
                answer = events.get_final_completion()
        else:
            answer = client.chat.completions.create(
                model="nld", messages=MESSAGES, tools=TOOLS, tool_choice="auto", parallel_tool_calls=True
            )
    (choice,) = answer.choices
    (call,) = choice.message.tool_calls
    assert (choice.finish_reason, call.function.name) == ("tool_calls", "time")
    assert json.loads(call.function.arguments) == {"zone": "UTC"}
    assert choice.message.reasoning_content == "Which zone?"
    if not stream:
        assert choice.message.content is None
        assert answer.usage.prompt_tokens_details.cached_tokens == 4


@pytest.mark.parametrize("stream", [False, True])
def test_langchain_reads_calls(url, stream: bool) -> None:
    langchain = pytest.importorskip("langchain_openai")
    model = langchain.ChatOpenAI(model="nld", base_url=url, api_key="any").bind_tools(TOOLS)
    if stream:
        first, *rest = model.stream("What time is it?")
        answer = sum(rest, start=first)
    else:
        answer = model.invoke("What time is it?")
    (call,) = answer.tool_calls
    assert (call["name"], call["args"]) == ("time", {"zone": "UTC"})
    assert answer.response_metadata["finish_reason"] == "tool_calls"


def test_litellm_reads_calls_and_thinking(url, monkeypatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm = pytest.importorskip("litellm")
    answer = litellm.completion(model="openai/nld", api_base=url, api_key="any", messages=MESSAGES, tools=TOOLS)
    (choice,) = answer.choices
    (call,) = choice.message.tool_calls
    assert (choice.finish_reason, call.function.name) == ("tool_calls", "time")
    assert json.loads(call.function.arguments) == {"zone": "UTC"}
    assert choice.message.reasoning_content == "Which zone?"

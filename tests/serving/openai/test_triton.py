# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The front before a real Triton server, asked by OpenAI's own client."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import openai
import pytest

from nld_trt.decode.engine import Engine
from nld_trt.serving.openai.limits import Limits
from nld_trt.serving.openai.link import TritonLink
from nld_trt.serving.openai.listener import Listener
from nld_trt.serving.openai.server import FrontServer
from nld_trt.serving.triton.repository import write_repository
from nld_trt.serving.triton.server import FREE_PORTS, Ports, TritonServer
from tests.serving.conftest import LONG, wait_until

pytestmark = pytest.mark.triton

PROMPT = "Convert 37 km to m."
MESSAGES = [{"role": "user", "content": PROMPT}]
MODES = ("ar", "diffusion", "linear")


@pytest.fixture(scope="module")
def front(server) -> Iterator[FrontServer]:
    link = TritonLink(server.triton.grpc_url, server.triton.metrics_url)
    with FrontServer(link, ["nld"], Listener()) as front:
        yield front


def client_of(front: FrontServer, **options) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{front.listener.url}/v1", api_key="any", max_retries=0, timeout=60, **options)


@pytest.fixture(scope="module")
def client(front) -> Iterator[openai.OpenAI]:
    with client_of(front) as client:
        yield client


def ask(client: openai.OpenAI, **options):
    return client.chat.completions.create(**{"model": "nld", "messages": MESSAGES, "max_tokens": 60, **options})


def text_of(chunks) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


@pytest.mark.parametrize("mode", MODES)
def test_answers_equal_direct_decoding(client, direct, mode) -> None:
    expected = direct(PROMPT, mode=mode, max_tokens=60)
    whole = ask(client, extra_body={"mode": mode})
    (choice,) = whole.choices
    assert (choice.message.content, choice.finish_reason) == (expected.text, expected.finish_reason)
    assert whole.usage.completion_tokens == len(expected.output_ids)
    assert whole.usage.prompt_tokens == expected.prompt_tokens
    assert (whole.metrics["mode"], whole.metrics["nfe"]) == (mode, expected.nfe)
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}, extra_body={"mode": mode}))
    assert text_of(chunks) == expected.text
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == expected.finish_reason
    # The second request finds most of its prompt in the cache.
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens >= 16
    assert (
        chunks[-1].usage.model_copy(update={"prompt_tokens_details": whole.usage.prompt_tokens_details}) == whole.usage
    )


def test_acceptance_is_told_as_aiperf_reads_it(client, direct) -> None:
    expected = direct(PROMPT, mode="linear", max_tokens=60)
    found = ask(client, extra_body={"mode": "linear"}).metrics["speculative_decoding"]
    assert found["num_spec_steps"] == len(expected.accepted)
    assert found["mean_acceptance_length"] == pytest.approx(expected.acceptance_length)
    assert sum(found["acceptance_histogram"]) == found["num_spec_steps"]
    assert len(found["acceptance_histogram"]) == found["num_spec_tokens"] + 1


def test_text_completions_equal_direct_decoding(client, direct, served_engine) -> None:
    ids = [20, 30, 40]
    found = client.completions.create(model="nld", prompt=[ids], max_tokens=30, extra_body={"mode": "ar"})
    assert found.choices[0].text == direct(ids, mode="ar", max_tokens=30).text
    found = client.completions.create(model="nld", prompt="Hello", max_tokens=5, echo=True)
    assert found.choices[0].text.startswith("Hello")


@pytest.mark.parametrize("stream", [False, True])
def test_thinking_is_told_from_the_text(client, served_engine, stream: bool) -> None:
    """The template opens it, the model closes it, and both markers are special tokens."""
    with Engine.open(served_engine) as engine:
        options = {"chat_template_kwargs": {"enable_thinking": True}, "mode": "ar", "max_new_tokens": 60}
        expected = engine.generate(MESSAGES, keep_markers=True, **options).text
    assert expected.startswith("<think>")
    extra = {"chat_template_kwargs": {"enable_thinking": True}, "mode": "ar"}
    found = ask(client, stream=stream, extra_body=extra)
    parts = [choice.delta for chunk in found for choice in chunk.choices] if stream else [found.choices[0].message]
    thinking = "".join(getattr(part, "reasoning_content", None) or "" for part in parts)
    content = "".join(part.content or "" for part in parts)
    before, _, after = expected.removeprefix("<think>").partition("</think>")
    assert (thinking, content) == (before.lstrip("\n"), after.lstrip("\n"))


def test_seeds_repeat_answers_and_choices_differ(client) -> None:
    options = {"temperature": 2.0, "seed": 5, "n": 2, "max_tokens": 30}
    first, again = ([each.message.content for each in ask(client, **options).choices] for _ in range(2))
    assert first == again
    assert first[0] != first[1]


def test_stop_and_length_are_told_apart(client, direct) -> None:
    text = direct(PROMPT, mode="ar", max_tokens=60).text
    stopped = ask(client, stop=[text[10:14]], extra_body={"mode": "ar"}).choices[0]
    assert (stopped.message.content, stopped.finish_reason) == (text[: text.index(text[10:14])], "stop")
    assert ask(client, max_completion_tokens=4).choices[0].finish_reason == "length"


ERRORS = {
    "model": ({"model": "gpt"}, openai.NotFoundError, "model"),
    "temperature": ({"temperature": -1}, openai.BadRequestError, "temperature"),
    "top_p": ({"top_p": 3}, openai.BadRequestError, "top_p"),
    "mode": ({"extra_body": {"mode": "fast"}}, openai.BadRequestError, "mode"),
    "logprobs": ({"logprobs": True}, openai.BadRequestError, "logprobs"),
    "max_tokens": ({"max_tokens": 10**6}, openai.BadRequestError, "max_tokens"),
    "beyond 32 bits": ({"max_tokens": 10**12}, openai.BadRequestError, None),
    "role": ({"messages": [{"role": 5, "content": "x"}]}, openai.BadRequestError, "messages"),
    "a long prompt": ({"messages": [{"role": "user", "content": "x " * 2000}]}, openai.BadRequestError, None),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_the_client_s(client, case: str, stream: bool) -> None:
    options, kind, param = ERRORS[case]
    with pytest.raises(kind) as caught:
        ask(client, stream=stream, **options)
    assert caught.value.param == param
    if case in ("a long prompt", "max_tokens"):
        assert caught.value.code == "context_length_exceeded"


@pytest.mark.parametrize("stream", [False, True])
def test_client_that_leaves_is_cancelled_on_the_server(server, front, stream: bool) -> None:
    cancelled = server.total("nld_requests_total", finish_reason="cancelled")
    settings = {"mode": LONG["mode"], "threshold": -1.0, "block_length": 32, "ignore_eos": True}
    body = json.dumps({"messages": MESSAGES, "stream": stream, **settings})
    with socket.create_connection(("127.0.0.1", front.listener.port), timeout=60) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body.encode())
        assert wait_until(lambda: server.total("nld_live_rows") == 1)
    assert wait_until(lambda: server.total("nld_requests_total", finish_reason="cancelled") == cancelled + 1)


def test_closing_a_stream_of_the_client_cancels_it(server, client) -> None:
    cancelled = server.total("nld_requests_total", finish_reason="cancelled")
    stream = ask(client, max_tokens=400, stream=True, extra_body=LONG)
    next(iter(stream))
    stream.close()
    assert wait_until(lambda: server.total("nld_requests_total", finish_reason="cancelled") == cancelled + 1)


@pytest.mark.parametrize("clients", [24, pytest.param(64, marks=pytest.mark.slow)])
def test_many_clients_get_what_each_gets_alone(server, front, direct, clients: int) -> None:
    """More than the engine has rows. Of four, one reads slowly, and one leaves in the middle."""
    found: dict[int, str] = {}

    def use(number: int) -> None:
        with client_of(front) as mine:
            options = {"max_tokens": 20 + number, "extra_body": {"mode": MODES[number % 3]}}
            if number % 4 == 3:
                stream = ask(mine, stream=True, **options)
                next(iter(stream))
                stream.close()
            elif number % 4 == 2:
                found[number] = text_of(slowly(ask(mine, stream=True, **options)))
            else:
                found[number] = ask(mine, **options).choices[0].message.content

    threads = [threading.Thread(target=use, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert found == {
        number: direct(PROMPT, mode=MODES[number % 3], max_tokens=20 + number).text
        for number in range(clients)
        if number % 4 != 3
    }
    assert wait_until(lambda: server.total("nld_live_rows") == server.total("nld_waiting_requests") == 0)


def slowly(chunks) -> Iterator:
    for chunk in chunks:
        time.sleep(0.02)
        yield chunk


def test_deadline_of_the_front_ends_an_answer(server) -> None:
    with FrontServer(
        TritonLink(server.triton.grpc_url), ["nld"], Listener(), limits=Limits(deadline=0.1)
    ) as front, client_of(front) as client:  # fmt: skip
        with pytest.raises(openai.InternalServerError) as caught:
            ask(client, max_tokens=400, extra_body=LONG)
        assert (caught.value.status_code, caught.value.code) == (504, "timeout")


def test_without_a_server_there_is_503(server) -> None:
    unused = Listener()
    with FrontServer(TritonLink(f"127.0.0.1:{unused.port}"), ["nld"], Listener()) as front, client_of(front) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            ask(client)
        assert (caught.value.status_code, caught.value.code) == (503, "unavailable")
        assert caught.value.response.headers["retry-after"] == "1"
    unused.close()


@pytest.mark.slow
def test_full_queue_is_told_as_a_rate_limit(served_engine, tmp_path) -> None:
    repository = write_repository(served_engine, tmp_path / "repository").path
    settings = repository / "nld" / "1" / "model.json"
    settings.write_text(
        re.sub(r'"max_waiting": \d+', '"max_waiting": 0', settings.read_text(encoding="utf-8")), encoding="utf-8"
    )
    with (
        TritonServer(repository, ports=FREE_PORTS, log_file=tmp_path / "log", timeout=300) as triton,
        FrontServer(TritonLink(triton.grpc_url), ["nld"], Listener()) as front,
        client_of(front) as client,
    ):
        streams = [ask(client, max_tokens=400, stream=True, extra_body=LONG) for _ in range(8)]
        with pytest.raises(openai.RateLimitError) as caught:
            ask(client)
        assert caught.value.response.headers["retry-after"] == "1"
        for stream in streams:
            stream.close()


def test_server_that_is_killed_ends_streams_and_one_that_comes_back_is_found(served_engine, tmp_path) -> None:
    repository = write_repository(served_engine, tmp_path / "repository").path
    with TritonServer(repository, ports=FREE_PORTS, log_file=tmp_path / "log", timeout=300) as triton:
        ports, link = triton.ports, TritonLink(triton.grpc_url)
        with FrontServer(link, ["nld"], Listener()) as front, client_of(front) as client:
            stream = iter(ask(client, max_tokens=400, stream=True, extra_body=LONG))
            next(stream)
            os.kill(triton.pid, signal.SIGKILL)
            with pytest.raises(openai.APIError, match="does not answer"):
                list(stream)
            triton.stop()
            with pytest.raises(openai.InternalServerError, match="does not answer"):
                ask(client)
            with TritonServer(repository, ports=Ports(0, ports.grpc, 0), log_file=tmp_path / "log", timeout=300):
                assert wait_until(lambda: health(front) == 200)
                assert ask(client, max_tokens=5).choices[0].finish_reason == "length"


def health(front: FrontServer) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", front.listener.port, timeout=30)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    finally:
        connection.close()


def test_serve_starts_the_front_and_stops_it(served_engine, tmp_path) -> None:
    repository = write_repository(served_engine, tmp_path / "repository").path
    ports = [word for name in ("http", "grpc", "metrics", "openai") for word in (f"--{name}-port", "0")]
    keys = tmp_path / "keys"
    keys.write_text("secret\n", encoding="utf-8")
    command = [sys.executable, "-m", "nld_trt", "-q", "serve", str(repository), *ports, "--json"]
    process = subprocess.Popen(
        [*command, "--api-key-file", str(keys), "--log-file", str(tmp_path / "log")], stdout=subprocess.PIPE,
        text=True, encoding="utf-8", env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "}\n")
        url = json.loads("".join(lines) + "}")["openai"]
        with openai.OpenAI(base_url=f"{url}/v1", api_key="secret", max_retries=0) as client:
            assert [model.id for model in client.models.list()] == ["nld"]
            assert ask(client, max_tokens=5).usage.completion_tokens == 5
        with openai.OpenAI(base_url=f"{url}/v1", api_key="guess") as client, pytest.raises(openai.AuthenticationError):
            client.models.list()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=5)


@pytest.mark.parametrize("case", ["streamed", "whole"])
def test_langchain_asks(front, direct, case: str) -> None:
    langchain = pytest.importorskip("langchain_openai")
    model = langchain.ChatOpenAI(
        model="nld", base_url=f"{front.listener.url}/v1", api_key="any", max_tokens=60, stream_usage=True,
        extra_body={"mode": "ar"},
    )  # fmt: skip
    expected = direct(PROMPT, mode="ar", max_tokens=60)
    answer = (
        model.invoke(PROMPT)
        if case == "whole"
        else sum(list(model.stream(PROMPT))[1:], start=next(model.stream(PROMPT)))
    )
    assert answer.content == expected.text
    assert answer.usage_metadata["output_tokens"] == len(expected.output_ids)
    assert answer.response_metadata["finish_reason"] == "stop"


@pytest.mark.parametrize("stream", [False, True])
def test_litellm_asks(front, direct, stream: bool, monkeypatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm = pytest.importorskip("litellm")
    answer = litellm.completion(
        model="openai/nld", api_base=f"{front.listener.url}/v1", api_key="any", messages=MESSAGES, max_tokens=60,
        stream=stream, extra_body={"mode": "ar"},
    )  # fmt: skip
    expected = direct(PROMPT, mode="ar", max_tokens=60)
    text = text_of(answer) if stream else answer.choices[0].message.content
    assert text == expected.text
    if not stream:
        assert answer.usage.completion_tokens == len(expected.output_ids)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Answers as bytes: whole ones, events of a stream, and errors."""

from __future__ import annotations

import json
import socket

import pytest

from nld_trt.serving.openai.auth import Keys
from nld_trt.serving.openai.errors import ApiError, of_server
from tests.serving.conftest import wait_until
from tests.serving.openai.conftest import ANSWER, CHAT, MESSAGES, TEXT, chunk

USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 6,
    "total_tokens": 13,
    "completion_tokens_details": {"accepted_prediction_tokens": 3, "rejected_prediction_tokens": 3},
}
DRAFTS = {
    "mean_acceptance_length": 2.5,
    "draft_acceptance_rate": 0.5,
    "acceptance_histogram": [0, 1, 1, 0],
    "num_accepted_draft_tokens": 3,
    "num_draft_tokens": 6,
    "num_spec_steps": 2,
    "num_spec_tokens": 3,
}


def test_whole_chat_answer(front) -> None:
    status, body = front.ask(model="nld")
    assert status == 200
    assert (body["object"], body["model"], body["id"][:9]) == ("chat.completion", "nld", "chatcmpl-")
    (choice,) = body["choices"]
    assert choice["message"] == {"role": "assistant", "refusal": None, "content": "37 km are far"}
    assert (choice["finish_reason"], choice["logprobs"]) == ("stop", None)
    assert body["usage"] == USAGE
    assert body["metrics"]["speculative_decoding"] == DRAFTS
    assert front.link.asked[0]["stream"] is False


def test_whole_text_answers(front) -> None:
    status, body = front.ask(TEXT, prompt=["a", "b"], n=2)
    assert (status, body["object"]) == (200, "text_completion")
    assert [(each["index"], each["text"]) for each in body["choices"]] == [(i, "37 km are far") for i in range(4)]
    # Two prompts, each counted once.
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (14, 24)
    assert "metrics" not in body


def test_stream_begins_with_the_role_and_ends_with_the_reason(front) -> None:
    events = front.events()
    assert [event["choices"][0]["delta"] for event in events] == [
        {"role": "assistant", "content": ""}, {"content": "37"}, {"content": " km are"}, {"content": " far"}, {},
    ]  # fmt: skip
    assert [event["choices"][0]["finish_reason"] for event in events] == [None] * 4 + ["stop"]
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    assert len({event["id"] for event in events}) == 1
    assert all("usage" not in event for event in events)
    assert events[-1]["metrics"]["speculative_decoding"] == DRAFTS


def test_usage_has_an_event_of_its_own(front) -> None:
    *events, last = front.events(stream_options={"include_usage": True})
    assert [event["usage"] for event in events] == [None] * 5
    assert (last["choices"], last["usage"], last["metrics"]["nfe"]) == ([], USAGE, 3)


def test_usage_so_far(front) -> None:
    events = front.events(stream_options={"include_usage": True, "continuous_usage_stats": True})
    assert [event["usage"]["completion_tokens"] for event in events] == [1, 1, 4, 6, 6, 6]


def test_stream_of_texts(front) -> None:
    events = front.events(TEXT, prompt="a")
    assert [event["choices"][0]["text"] for event in events] == ["37", " km are", " far", ""]


def test_stream_of_several_choices(front) -> None:
    events = front.events(n=3)
    for index in range(3):
        mine = [choice for event in events for choice in event["choices"] if choice["index"] == index]
        assert "".join(choice["delta"].get("content", "") for choice in mine) == "37 km are far"
        assert (mine[0]["delta"]["role"], mine[-1]["finish_reason"]) == ("assistant", "stop")


def test_answer_without_any_text_has_the_role(front_with) -> None:
    events = front_with(chunk("", 1, "stop")).events()
    assert [event["choices"][0]["delta"] for event in events] == [{"role": "assistant", "content": ""}, {}]


def test_limit_of_tokens_is_told_as_length(front_with) -> None:
    _, body = front_with(chunk("37", 1, "length")).ask()
    assert body["choices"][0]["finish_reason"] == "length"


TOOLS = [{"type": "function", "function": {"name": "time", "parameters": {"type": "object"}}}]
CALLING = (
    chunk("<think>Hm", 2), chunk(".</think>\n<tool_", 3), chunk('call>{"name": "time", "arguments": {"zone": "é"}}', 9),
    chunk("</tool_call>", 1, "stop"),
)  # fmt: skip


def test_whole_answer_with_thinking_and_a_call(front_with) -> None:
    status, body = front_with(*CALLING).ask(tools=TOOLS)
    (choice,) = body["choices"]
    message = choice["message"]
    assert (status, choice["finish_reason"]) == (200, "tool_calls")
    assert (message["content"], message["reasoning_content"]) == (None, "Hm.")
    (call,) = message["tool_calls"]
    assert (call["type"], call["function"]) == ("function", {"name": "time", "arguments": '{"zone": "é"}'})


def test_stream_with_thinking_and_a_call(front_with) -> None:
    events = front_with(*CALLING).events(tools=TOOLS)
    deltas = [event["choices"][0]["delta"] for event in events]
    call = deltas[3]["tool_calls"][0]
    assert deltas == [
        {"role": "assistant", "content": ""}, {"reasoning_content": "Hm"}, {"reasoning_content": "."},
        {"tool_calls": [{**call, "index": 0, "function": {"name": "time", "arguments": '{"zone": "é"}'}}]}, {},
    ]  # fmt: skip
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_calls_of_several_choices_have_ids_of_their_own(front_with) -> None:
    _, body = front_with(*CALLING).ask(tools=TOOLS, n=2)
    assert len({choice["message"]["tool_calls"][0]["id"] for choice in body["choices"]}) == 2


def test_call_that_was_cut_off_is_text_and_the_reason_is_the_length(front_with) -> None:
    _, body = front_with(chunk("<tool_call>{", 2, "length")).ask(tools=TOOLS)
    (choice,) = body["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("<tool_call>{", "length")
    assert "tool_calls" not in choice["message"]


def test_texts_of_completions_are_not_split(front_with) -> None:
    _, body = front_with(chunk("<think>Hm.</think>", 2, "stop")).ask(TEXT, prompt="a")
    assert body["choices"][0]["text"] == "<think>Hm.</think>"


def test_cached_tokens_are_in_the_usage(front_with) -> None:
    """Of each prompt once, whatever ``n`` is."""
    _, body = front_with(chunk("37", 1, "stop", cached_tokens=5)).ask(TEXT, prompt=["a", "b"], n=2)
    assert body["usage"]["prompt_tokens_details"] == {"cached_tokens": 10}


STATUSES = {
    "top_p is 3; it must be at most 1": (400, None, "top_p"),
    "stop_words is not UTF-8": (400, None, "stop"),
    "the prompt has 600 tokens; the engine was built for 512, answer included": (400, "context_length_exceeded", None),
    "max_tokens is 9; after a prompt of 9 tokens the engine can generate 3": (
        400,
        "context_length_exceeded",
        "max_tokens",
    ),
    "Request for unknown model: 'nld' is not found": (404, "model_not_found", None),
    "UNAVAILABLE: 4 requests are waiting; no more are accepted": (429, "rate_limit_exceeded", None),
    "UNAVAILABLE: the server is shutting down": (503, "unavailable", None),
    "[request id: <id_unknown>] Request for model 'nld' is not ready": (503, "unavailable", None),
    "INTERNAL: the decode loop failed": (500, None, None),
    "CANCELLED: the request's timeout of 1 s has passed": (504, "timeout", None),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("message", STATUSES)
def test_error_of_the_server_has_a_status(front_with, message: str, stream: bool) -> None:
    """Also for streams: nothing has been sent before the first token."""
    status, code, param = STATUSES[message]
    client = front_with(of_server(message))
    found, headers, text = client.send("POST", CHAT, {"messages": MESSAGES, "stream": stream})
    error = json.loads(text)["error"]
    assert (found, error["code"], error["param"]) == (status, code, param)
    assert ("retry-after" in headers) == (status in (429, 503))
    assert set(error) == {"message", "type", "param", "code"}


def test_error_in_the_middle_of_a_stream_is_an_event(front_with) -> None:
    *_, last = front_with(chunk("37"), of_server("INTERNAL: broken")).events()
    assert last["error"]["message"] == "INTERNAL: broken"


def test_error_of_one_choice_cancels_the_others(front_with) -> None:
    client = front_with(chunk("37"), ApiError(of_server("INTERNAL: x").kind, "broken"))
    status, body = client.ask(n=4)
    assert (status, body["error"]["message"]) == (500, "broken")


def test_answer_that_the_stopping_server_cut_is_an_error(front_with) -> None:
    status, body = front_with(chunk("37", 1, "cancelled")).ask()
    assert (status, body["error"]["code"]) == (503, "unavailable")


def test_defect_says_nothing_to_the_client_and_all_to_the_log(front_with, caplog) -> None:
    status, body = front_with(ZeroDivisionError("secret")).ask()
    assert (status, body["error"]["type"]) == (500, "server_error")
    assert "secret" not in body["error"]["message"]
    # It is written after the response.
    assert wait_until(lambda: "secret" in caplog.text)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", CHAT, b"{", 400),
        ("POST", CHAT, b"[]", 400),
        ("POST", CHAT, b'{"messages": "\xff"}', 400),
        ("POST", CHAT, "[" * 5000, 400),
        ("GET", CHAT, None, 405),
        ("GET", "/v1/nothing", None, 404),
        ("GET", "/v1/models/gpt", None, 404),
    ],
)
def test_requests_that_are_none_have_openai_s_error(front, method: str, path: str, body, status: int) -> None:
    found, _, text = front.send(method, path, body)
    assert (found, json.loads(text)["error"]["type"]) == (status, "invalid_request_error")


def test_models_are_listed(front) -> None:
    (model,) = json.loads(front.send("GET", "/v1/models")[2])["data"]
    assert (model["id"], model["root"], model["object"]) == ("nld", "nld", "model")
    assert json.loads(front.send("GET", "/v1/models/nld")[2]) == model


def test_health_is_that_of_the_model(front) -> None:
    paths = ("/health", "/health/ready", "/health/live")
    assert [front.send("GET", path)[0] for path in paths] == [200, 200, 200]
    front.link.loaded = False
    assert [front.send("GET", path)[0] for path in paths] == [503, 503, 200]


def test_metrics_have_ours_and_the_server_s(front) -> None:
    front.ask()
    front.events()
    front.ask(model="gpt")
    text = front.send("GET", "/metrics")[2]
    assert 'nld_front_requests_total{path="/v1/chat/completions",status="200"} 2\n' in text
    assert 'nld_front_requests_total{path="/v1/chat/completions",status="404"} 1\n' in text
    assert "nld_front_completion_tokens_total 12\n" in text
    assert "nld_front_open_requests 0\n" in text
    assert 'nld_front_time_to_first_token_seconds_bucket{le="+Inf"} 1\n' in text
    assert "nld_front_request_seconds_count 2\n" in text
    assert text.endswith("nld_live_rows 0\n")


def test_keys(front_with) -> None:
    client = front_with(*ANSWER, keys=Keys(["one", "zwei"]))
    for header, status in {"": 401, "Bearer": 401, "Bearer drei": 401, "Basic one": 401, "Bearer zwei": 200}.items():
        headers = {"Authorization": header} if header else {}
        for method, path in (("POST", CHAT), ("GET", "/v1/models"), ("GET", "/v1/models/nld")):
            found, sent, text = client.send(method, path, {"messages": MESSAGES}, headers)
            assert found == status, (header, path)
            if status == 401:
                assert json.loads(text)["error"]["code"] == "invalid_api_key"
                assert sent["www-authenticate"] == "Bearer"
    assert client.send("GET", "/health")[0] == 200


def test_body_that_says_it_is_too_long_is_not_read(front_with) -> None:
    """A client that waits for the word to go on gets the refusal without having sent anything."""
    client = front_with(max_body_bytes=1000)
    with socket.create_connection(("127.0.0.1", client.port), timeout=30) as connection:
        connection.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n".encode())
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_body_of_unknown_length_is_cut_off(front_with) -> None:
    client = front_with(max_body_bytes=1000)
    connection = client.connect()
    connection.request(
        "POST", CHAT, iter([b"x" * 600, b"y" * 600]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
    )
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["error"]["code"]) == (413, "request_too_large")
    connection.close()


def test_body_that_does_not_arrive_is_given_up(front_with) -> None:
    client = front_with(body_seconds=0.1)
    with socket.create_connection(("127.0.0.1", client.port), timeout=30) as connection:
        connection.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{{".encode())
        assert connection.recv(12) == b"HTTP/1.1 408"


def test_headers_without_an_end_are_limited(front_with) -> None:
    client = front_with(max_header_bytes=2000)
    with socket.create_connection(("127.0.0.1", client.port), timeout=30) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 3000)
        assert connection.recv(12) == b"HTTP/1.1 400"


def test_more_open_requests_than_the_limit_are_refused(front_with) -> None:
    client = front_with(chunk("37"), None, max_open=1)
    connection = client.connect()
    connection.request("POST", CHAT, json.dumps({"messages": MESSAGES, "stream": True}))
    assert client.link.waiting.wait(30)
    status, body = client.ask()
    assert (status, body["error"]["type"]) == (429, "rate_limit_error")
    connection.close()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("answer", [(None,), (chunk("37"), None)], ids=["before", "after the first token"])
def test_client_that_leaves_cancels_its_request(front_with, stream: bool, answer) -> None:
    client = front_with(*answer)
    connection = client.connect()
    connection.request("POST", CHAT, json.dumps({"messages": MESSAGES, "stream": stream, "n": 2}))
    assert client.link.waiting.wait(30)
    assert not client.link.cancelled.is_set()
    connection.sock.close()
    connection.close()
    assert client.link.cancelled.wait(30)
    assert wait_until(lambda: 'status="disconnected"} 1' in client.send("GET", "/metrics")[2])
    assert "nld_front_open_requests 0" in client.send("GET", "/metrics")[2]


def test_client_that_reads_nothing_is_given_up(front_with) -> None:
    """The answer is longer than what the system keeps for a client that does not read."""
    client = front_with(*[chunk("x" * 100_000)] * 400, chunk("", 1, "stop"), stall_seconds=0.2)
    with socket.create_connection(("127.0.0.1", client.port), timeout=30) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = json.dumps({"messages": MESSAGES, "stream": True})
        connection.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        assert client.link.cancelled.wait(30)


def test_stopping_ends_open_requests_with_an_error(front_with) -> None:
    client = front_with(chunk("37"), None, exit_seconds=0.2)
    connection = client.connect()
    connection.request("POST", CHAT, json.dumps({"messages": MESSAGES, "stream": True}))
    assert client.link.waiting.wait(30)
    client.front.stop()
    assert client.link.cancelled.is_set()
    *_, error, done, _ = connection.getresponse().read().decode().split("\n\n")
    assert json.loads(error.removeprefix("data: "))["error"]["code"] == "unavailable"
    assert done == "data: [DONE]"
    connection.close()

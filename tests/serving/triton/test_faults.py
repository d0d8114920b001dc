# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What clients see when something goes wrong in a real server, as docs/serving.md says it."""

from __future__ import annotations

import http.client
import json
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from nld_trt.errors import OperationError
from nld_trt.serving.triton.client import stream
from tests.serving.command import Command, group_lives, servers_of, stub_of
from tests.serving.conftest import wait_until
from tests.serving.triton.streams import LASTING, Streams, get

pytestmark = pytest.mark.triton


@pytest.fixture
def serve(repository, tmp_path) -> Iterator[Callable[..., tuple[Command, dict]]]:
    started = []

    def start(*options: str) -> tuple[Command, dict]:
        command = Command(repository, "--json", "--log-file", str(tmp_path / "server.log"), *options)
        started.append(command)
        return command, command.facts()

    yield start
    for command in started:
        command.process.kill()
        command.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)])
def test_a_model_that_dies_or_hangs_ends_its_streams_and_is_started_again(serve, direct, number) -> None:
    command, facts = serve("--openai-port", "0", "--patience", "3")
    assert get(facts["openai"], "/health/ready") == 200
    streams = Streams(facts["grpc"], 6, **LASTING)
    streams.wait_until_open()
    stub_of(command.process.pid).send_signal(number)
    assert wait_until(lambda: get(facts["openai"], "/health/ready") == 503)
    assert len(streams.wait_until_ended(60)) == 6
    assert [end for end in streams.ends if "no Triton server answers" not in end] == []
    assert wait_until(lambda: get(facts["openai"], "/health/ready") == 200)
    chunks = stream(facts["grpc"], text_input="Convert 37 km to m.", max_tokens=20, mode="linear")
    assert "".join(chunk.text for chunk in chunks) == direct("Convert 37 km to m.", max_tokens=20).text
    status, err = command.end(signal.SIGTERM)
    assert status == 0
    assert err.count("the server is started again") == 1


@pytest.mark.slow
def test_a_server_that_hangs_is_started_again(serve) -> None:
    command, facts = serve("--patience", "2")
    streams = Streams(facts["grpc"], 2)
    streams.wait_until_open()
    (server,) = servers_of(command.process.pid)
    server.send_signal(signal.SIGSTOP)
    assert all("no Triton server answers" in end for end in streams.wait_until_ended(60))
    assert wait_until(lambda: get(facts["http"], "/v2/health/ready") == 200)
    status, err = command.end(signal.SIGTERM)
    assert status == 0
    assert "has not answered for 2 s" in err


@pytest.mark.slow
def test_a_model_that_an_operator_unloads_is_left_alone(serve) -> None:
    command, facts = serve("--patience", "1")
    for action in ("unload", "load", "load"):
        connection = http.client.HTTPConnection(facts["http"].removeprefix("http://"), timeout=30)
        connection.request("POST", f"/v2/repository/models/nld/{action}")
        assert connection.getresponse().status == 200
        connection.close()
        time.sleep(5)
    status, err = command.end(signal.SIGTERM)
    assert status == 0
    assert "started again" not in err


@pytest.mark.slow
def test_open_streams_get_a_last_response_when_the_server_is_stopped(serve) -> None:
    command, facts = serve("--shutdown-timeout", "1.5")
    streams = Streams(facts["grpc"], 6, max_tokens=500, mode="diffusion", threshold=-1.0)
    streams.wait_until_open()
    command.process.send_signal(signal.SIGTERM)
    assert streams.wait_until_ended(60) == ["cancelled"] * 6
    _, err = command.process.communicate(timeout=60)
    assert command.process.returncode == 0, err
    assert not group_lives(facts["pid"])


@pytest.mark.slow
def test_connection_without_a_request_does_not_hold_the_server_up(serve) -> None:
    command, facts = serve("--shutdown-timeout", "30")
    connection = http.client.HTTPConnection(facts["http"].removeprefix("http://"), timeout=30)
    connection.request("GET", "/v2/health/live")
    connection.getresponse().read()
    begin = time.monotonic()
    status, _ = command.end(signal.SIGTERM)
    assert status == 0
    assert time.monotonic() - begin < 20
    connection.close()


def test_a_killed_command_leaves_no_process_of_long_streams(serve) -> None:
    command, facts = serve()
    streams = Streams(facts["grpc"], 6)
    streams.wait_until_open()
    stub_of(command.process.pid).send_signal(signal.SIGSTOP)
    command.process.kill()
    assert wait_until(lambda: not group_lives(facts["pid"]), 3)
    assert all("no Triton server answers" in end for end in streams.wait_until_ended(10))


@pytest.mark.slow
def test_nested_lists_and_many_pieces_do_not_end_the_server(server) -> None:
    depth = 1_000_000
    body = b'{"text_input": "", "other": ' + b"[" * depth + b"]" * depth + b"}"
    assert post(server, body)[0] == 400
    pieces = [b'{"text_input": "', *[b"xx"] * 700_000, b'"}']
    status, text = post(server, iter(pieces), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    assert (status, "text_input has 1400008 bytes" in text) == (400, True)
    assert server.ask(text_input="hello", max_tokens=2)[-1].finish_reason == "length"


def post(server, body, **options) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.triton.ports.http, timeout=120)
    try:
        connection.request("POST", "/v2/models/nld/generate", body, **options)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_large_form_does_not_end_the_server(server) -> None:
    # What curl calls every body. Triton parses it as one, on its stack.
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    status, text = post(server, json.dumps({"text_input": "x" * 12_000_000}), headers=headers)
    assert (status, "text_input has 12000008 bytes" in text) == (400, True)


def test_a_huge_prompt_is_refused_at_once_and_stalls_nobody(server) -> None:
    neighbour = Streams(server.triton.grpc_url, 1)
    neighbour.wait_until_open()
    refused = server.total("nld_refused_requests_total", reason="invalid")
    begin = time.monotonic()
    with pytest.raises(OperationError, match="text_input has 5000008 bytes"):
        server.ask(text_input="long " * 1_000_000)
    assert time.monotonic() - begin < 10
    assert wait_until(lambda: server.total("nld_refused_requests_total", reason="invalid") == refused + 1)
    assert neighbour.wait_until_ended(60) == ["length"]


def test_the_probe_is_answered_and_counts_as_no_request(server) -> None:
    before = server.total("nld_requests_total")
    status, text = server.post("/v2/models/nld/generate", {"probe": True})
    assert (status, json.loads(text)["finish_reason"]) == (200, "stop")
    assert server.total("nld_requests_total") == before

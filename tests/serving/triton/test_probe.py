# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The probe tells a model that is well from one that is not, is absent, or does not answer."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from nld_trt.errors import OperationError
from nld_trt.serving.pulse import Pulse
from nld_trt.serving.triton import probe
from nld_trt.serving.triton.probe import ask_state, check_health


class Handler(BaseHTTPRequestHandler):
    status, text = 200, ""

    def do_POST(self) -> None:
        self.send_response(type(self).status)
        self.end_headers()
        self.wfile.write(type(self).text.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "text", "state"),
    [
        (200, "{}", "well"),
        (400, '{"error":"INTERNAL: the model cannot decode: the decode loop failed"}', "ill"),
        (500, '{"error":"Stub process \'nld_0_0\' is not healthy."}', "ill"),
        (400, '{"error":"Request for unknown model: \'nld\' is not found"}', "absent"),
    ],
)
def test_state_follows_the_answer(port, monkeypatch, status, text, state) -> None:
    monkeypatch.setattr(Handler, "status", status)
    monkeypatch.setattr(Handler, "text", text)
    assert ask_state("127.0.0.1", port, "nld", 5)[0] == state


def test_no_answer_and_no_server_are_told_apart() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        assert ask_state("127.0.0.1", port, "nld", 0.1)[0] == "silent"
    assert ask_state("127.0.0.1", port, "nld", 5)[0] == "unreachable"


def test_dead_loop_is_ill() -> None:
    scheduler = SimpleNamespace(failure=OperationError("the decode loop failed: out of memory"), pulse=Pulse())
    with pytest.raises(OperationError, match="the model cannot decode: the decode loop failed: out of memory"):
        check_health(scheduler)


def test_loop_that_stands_still_is_ill_and_one_that_rests_is_well(monkeypatch) -> None:
    scheduler = SimpleNamespace(failure=None, pulse=Pulse())
    now = time.monotonic()
    scheduler.pulse.beat()
    check_health(scheduler)
    monkeypatch.setattr(time, "monotonic", lambda: now + probe._STALL_SECONDS + 1)
    with pytest.raises(OperationError, match="its forward has not ended for 301 s"):
        check_health(scheduler)
    scheduler.pulse.rest()
    check_health(scheduler)

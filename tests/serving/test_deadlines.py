# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Requests that must be answered by a time: refused, ended or served, and always told."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from nld_trt.cli import run
from nld_trt.decode.batch import Batch
from nld_trt.decode.request import Request
from nld_trt.errors import InputError, OperationError
from nld_trt.serving.deadlines import Pace, read_timeout
from nld_trt.serving.errors import Cancelled, QueueFull, Unavailable
from nld_trt.serving.scheduler import Scheduler
from nld_trt.serving.settings import ServingSettings
from nld_trt.serving.triton.client import stream
from nld_trt.serving.triton.model import TritonChannel
from nld_trt.serving.triton.repository import write_repository
from nld_trt.serving.triton.server import FREE_PORTS, TritonServer

from .conftest import LONG, Server, wait_until
from .test_scheduler import SECONDS, Client

PROMPT = "Convert 37 km to m."
HOLDING = Request((20, 21), "ar", max_new_tokens=400, eos_token_id=-1)
SHORT = Request((20,), "ar", max_new_tokens=2, eos_token_id=-1)


class Gate:
    """A session whose forwards wait while the gate is shut."""

    def __init__(self, session) -> None:
        self._session = session
        self.open = threading.Event()
        self.entered = threading.Event()
        # Forwards until the session fails.
        self.left = 1_000_000

    def __getattr__(self, name):
        return getattr(self._session, name)

    def launch(self, buffers) -> None:
        self.entered.set()
        assert self.open.wait(SECONDS)
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("device lost")
        self._session.launch(buffers)


@pytest.fixture
def gated(golden_session):
    """(scheduler, gate) with one row."""
    gate = Gate(golden_session("tiny-a"))
    made = Scheduler(Batch(gate, max_rows=1), max_waiting=5)
    yield made, gate
    gate.open.set()
    made.close(grace=0)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, None),
        ("0", None),
        (1_500_000, 1.5),
        ("1500000", 1.5),
        (2.5e6, 2.5),
        (1, 1e-6),
        (2**64 - 1, (2**64 - 1) / 1e6),
    ],
)
def test_timeout_is_in_microseconds(value, seconds) -> None:
    assert read_timeout(value) == seconds


@pytest.mark.parametrize("value", [-1, "-1", "soon", "", True, None, [1], float("nan"), float("inf"), "1.5"])
def test_timeout_that_is_no_time_is_refused_by_name(value) -> None:
    with pytest.raises(InputError, match="timeout is"):
        read_timeout(value)


def test_waiting_request_whose_time_has_passed_is_told_so_and_never_decoded(gated) -> None:
    scheduler, gate = gated
    holding, late, later = Client(), Client(), Client()
    scheduler.submit(HOLDING, holding)
    scheduler.submit(SHORT, late, timeout=1e-6)
    scheduler.submit(SHORT, later, timeout=3600)
    gate.open.set()
    assert late.ended.wait(SECONDS)
    assert isinstance(late.error, Cancelled)
    assert "timeout of 1e-06 s has passed; it was still waiting" in str(late.error)
    assert late.tokens == []
    assert holding.ended.wait(SECONDS)
    assert later.ended.wait(SECONDS)
    assert (holding.finish_reason, later.finish_reason) == ("length", "length")
    assert late.finish_reason is None, "nothing is said after a failure"
    assert wait_until(lambda: scheduler.pending == 0)


def test_request_that_takes_too_long_is_ended_and_frees_its_row(gated) -> None:
    scheduler, gate = gated
    slow, other = Client(), Client()
    job = scheduler.submit(HOLDING, slow, timeout=3600)
    gate.open.set()
    assert slow.started.wait(SECONDS)
    assert job.deadline is not None
    job.deadline.passed = lambda now: True  # type: ignore[method-assign]
    assert slow.ended.wait(SECONDS)
    assert isinstance(slow.error, Cancelled)
    assert "tokens had been generated" in str(slow.error)
    assert slow.finish_reason is None
    scheduler.submit(SHORT, other)
    assert other.ended.wait(SECONDS)
    assert other.finish_reason == "length"


def test_request_that_could_not_start_in_time_is_refused_at_once(gated) -> None:
    scheduler, _ = gated
    scheduler._pace.add(10.0)
    for _ in range(3):
        scheduler.submit(HOLDING, Client())
    with pytest.raises(
        Unavailable, match=r"timeout is 29 s; 2 requests are waiting, and this one would start in about"
    ):
        scheduler.submit(SHORT, Client(), timeout=29.0)
    scheduler.submit(SHORT, Client(), timeout=31.0)
    assert scheduler.pending == 4


def test_nobody_is_refused_while_a_row_is_free_or_nothing_is_known(gated) -> None:
    scheduler, _ = gated
    scheduler.submit(HOLDING, Client())
    scheduler.submit(SHORT, Client(), timeout=0.001)
    assert scheduler.pending == 2
    assert Pace().wait(100, 1) == 0.0


def test_pace_follows_the_last_requests() -> None:
    pace = Pace()
    for seconds in [1.0] * 5 + [3.0] * 50:
        pace.add(seconds)
    assert pace.wait(7, 4) == pytest.approx(3.0 * 8 / 4, rel=1e-3)


def test_scheduler_measures_the_pace_of_those_that_came_to_their_end(gated) -> None:
    scheduler, gate = gated
    gate.open.set()
    job = scheduler.submit(HOLDING, Client())
    job.cancel()
    assert wait_until(lambda: scheduler.pending == 0)
    assert scheduler._pace.seconds is None
    client = Client()
    scheduler.submit(HOLDING, client)
    assert client.ended.wait(SECONDS)
    assert scheduler._pace.seconds is not None
    assert scheduler._pace.seconds > 0


def test_nobody_is_asked_whether_a_client_is_there_that_has_been_told(gated) -> None:
    """Triton ends with a segmentation fault if it is."""
    scheduler, gate = gated

    class Told(Client):
        asked_late = False

        def abandoned(self) -> bool:
            self.asked_late |= self.ended.is_set()
            return False

    late, other = Told(), Client()
    scheduler.submit(SHORT, late, timeout=1e-6)
    gate.open.set()
    assert late.ended.wait(SECONDS)
    scheduler.submit(HOLDING, other)
    assert other.ended.wait(SECONDS)
    assert not late.asked_late


def test_who_has_been_told_is_not_told_again_when_the_engine_fails(gated) -> None:
    scheduler, gate = gated

    class Told(Client):
        times = 0

        def failed(self, error) -> None:
            self.times += 1
            super().failed(error)

    late, holding = Told(), Client()
    gate.left = 1
    scheduler.submit(HOLDING, holding)
    assert gate.entered.wait(SECONDS)
    scheduler.submit(SHORT, late, timeout=1e-6)
    gate.open.set()
    assert holding.ended.wait(SECONDS)
    scheduler.close(grace=0)
    assert "device lost" in str(holding.error)
    assert late.times == 1


class Sender:
    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, response: Any, flags: int) -> None:
        self.sent.append((response, flags))

    def is_cancelled(self) -> bool:
        assert not any(flags for _, flags in self.sent), "asked after the last response"
        return True


class Backend(SimpleNamespace):
    """What the channel needs of ``triton_python_backend_utils``."""

    TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1

    @staticmethod
    def Tensor(name: str, values: Any) -> tuple[str, Any]:
        return name, values

    @staticmethod
    def InferenceResponse(**parts: Any) -> dict[str, Any]:
        return parts

    class TritonError(tuple):
        INVALID_ARG, UNAVAILABLE, CANCELLED, INTERNAL = range(4)

        def __new__(cls, *parts: Any):
            return super().__new__(cls, parts)


def test_channel_asks_triton_about_open_requests_only() -> None:
    channel = TritonChannel(Backend, Sender())
    channel.send({"text_output": "a"}, final=False)
    assert channel.is_cancelled()
    channel.send({"text_output": "b"}, final=True)
    assert not channel.is_cancelled()
    failed = TritonChannel(Backend, Sender())
    failed.fail(Cancelled("too late"))
    assert not failed.is_cancelled()


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("mode is 'x'"), Backend.TritonError.INVALID_ARG, "mode is 'x'"),
        (QueueFull("3 requests wait"), Backend.TritonError.UNAVAILABLE, "UNAVAILABLE: 3 requests wait"),
        (Unavailable("too many wait"), Backend.TritonError.UNAVAILABLE, "UNAVAILABLE: too many wait"),
        (Cancelled("too late"), Backend.TritonError.CANCELLED, "CANCELLED: too late"),
        (OperationError("device lost"), Backend.TritonError.INTERNAL, "INTERNAL: device lost"),
    ],
)
def test_error_has_triton_s_code_and_says_it_where_the_request_is_not_at_fault(error, code, message) -> None:
    sender = Sender()
    TritonChannel(Backend, sender).fail(error)
    ((response, flags),) = sender.sent
    assert (response["error"], flags) == (Backend.TritonError(message, code), 1)


@pytest.mark.parametrize("deadline", [0.0, -1.0, float("nan"), float("inf")])
def test_client_refuses_a_deadline_that_is_none(deadline) -> None:
    with pytest.raises(InputError, match="the deadline is"):
        list(stream("localhost:9", text_input="a", deadline=deadline))


@pytest.mark.triton
def test_time_that_is_enough_changes_nothing(server, direct) -> None:
    chunks = list(stream(server.triton.grpc_url, text_input=PROMPT, max_tokens=20, deadline=600))
    (event,) = server.generate_stream(text_input=PROMPT, max_tokens=20, timeout=600_000_000)
    assert "".join(chunk.text for chunk in chunks) == event["text_output"] == direct(PROMPT, max_tokens=20).text


@pytest.mark.triton
def test_time_that_is_too_short_is_told_over_grpc_and_http(server, capsys) -> None:
    with pytest.raises(OperationError, match=r"CANCELLED: the request's timeout of 0\.001 s has passed"):
        list(stream(server.triton.grpc_url, text_input=PROMPT, stream=False, deadline=0.001, **LONG))
    for path in ("generate", "generate_stream"):
        status, text = server.post(f"/v2/models/nld/{path}", {"text_input": PROMPT, "timeout": 1000, **LONG})
        assert (status, "CANCELLED: the request's timeout" in text) == (400, True), text
    assert run(["client", server.triton.grpc_url, PROMPT, "--deadline", "0.001"]) == 1
    assert "timeout of 0.001 s has passed" in capsys.readouterr().err
    status, text = server.post("/v2/models/nld/generate", {"text_input": PROMPT, "timeout": "soon"})
    assert (status, "timeout is 'soon'" in text) == (400, True), text
    assert wait_until(lambda: server.total("nld_live_rows") == 0)


@pytest.mark.triton
def test_full_queue_says_that_it_is_unavailable(served_engine, tmp_path) -> None:
    repository = write_repository(served_engine, tmp_path / "r", serving=ServingSettings(max_waiting=0)).path
    with TritonServer(repository, ports=FREE_PORTS, log_file=tmp_path / "server.log", timeout=300) as triton:
        server = Server(triton)
        rows = served_engine.manifest.limits.max_batch_size
        # Each row is held by a client that reads its first piece and then nothing for a while.
        held = [stream(triton.grpc_url, text_input=PROMPT, **LONG) for _ in range(rows)]
        for chunks in held:
            next(chunks)
        assert wait_until(lambda: server.total("nld_live_rows") == rows)
        for path in ("generate", "generate_stream"):
            status, text = server.post(f"/v2/models/nld/{path}", {"text_input": PROMPT})
            assert (status, "UNAVAILABLE: 0 requests are waiting" in text) == (400, True), text
            assert "error" in json.loads(text.removeprefix("data: "))
        with pytest.raises(OperationError, match="UNAVAILABLE: 0 requests are waiting"):
            server.ask(text_input=PROMPT)
        for chunks in held:
            chunks.close()
        assert wait_until(lambda: server.total("nld_live_rows") == 0)
        assert server.ask(text_input=PROMPT, max_tokens=2)[-1].finish_reason == "length"

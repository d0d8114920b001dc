# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A server that answers by a script, in the place of Triton, and a client that speaks plain HTTP."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from nld_trt.serving.openai.auth import Keys
from nld_trt.serving.openai.limits import Limits
from nld_trt.serving.openai.listener import Listener
from nld_trt.serving.openai.server import FrontServer
from nld_trt.serving.triton.client import Chunk

# Tests start servers while gRPC runs in this process. Its handlers would go on polling in the child, whose files are
# closed, and end it before it becomes the server.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

MESSAGES = [{"role": "user", "content": "Convert 37 km to m."}]
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def chunk(text: str, tokens: int = 1, finish_reason: str = "", **more: Any) -> Chunk:
    return Chunk(text, tokens, finish_reason, "linear", 7, **more)


ANSWER = (
    chunk("37", 1),
    chunk(" km are", 3),
    chunk(" far", 2, "stop", tokens_per_forward=2.0, acceptance_length=2.5, nfe=3, acceptance_histogram=(0, 1, 1, 0)),
)


@dataclass
class FakeLink:
    """Answers every request with ``answer``: chunks, errors to raise, or None to wait until it is cancelled."""

    answer: list[Chunk | Exception | None] = field(default_factory=lambda: list(ANSWER))
    loaded: bool = True
    asked: list[dict[str, Any]] = field(default_factory=list)
    waiting: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)

    async def connect(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def ready(self, model: str) -> bool:
        return self.loaded

    async def metrics(self) -> str:
        return "nld_live_rows 0\n"

    async def generate(
        self, model: str, inputs: Mapping[str, Any], parameters: Mapping[str, Any], **limits: Any
    ) -> AsyncGenerator[Chunk, None]:
        self.asked.append({"model": model, **inputs, **parameters, **limits})
        try:
            for part in self.answer:
                if isinstance(part, Exception):
                    raise part
                if part is None:
                    self.waiting.set()
                    await asyncio.Event().wait()
                    raise AssertionError
                yield part
                await asyncio.sleep(0)
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise


@dataclass
class Client:
    """Plain HTTP, which sees every byte."""

    front: FrontServer
    link: FakeLink

    @property
    def port(self) -> int:
        return self.front.listener.port

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def send(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], str]:
        connection = self.connect()
        try:
            text = body if isinstance(body, bytes | str | None) else json.dumps(body)
            connection.request(method, path, text, dict(headers or {}))
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read().decode()
        finally:
            connection.close()

    def ask(self, path: str = CHAT, **body: Any) -> tuple[int, Any]:
        given = {"messages": MESSAGES} if path == CHAT and "messages" not in body else {}
        status, _, text = self.send("POST", path, {**given, **body})
        return status, json.loads(text)

    def events(self, path: str = CHAT, **body: Any) -> list[Any]:
        given = {"messages": MESSAGES} if path == CHAT else {}
        status, headers, text = self.send("POST", path, {"stream": True, **given, **body})
        assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        *events, end = text.split("\n\n")
        assert end == ""
        assert events[-1] == "data: [DONE]"
        return [json.loads(event.removeprefix("data: ")) for event in events[:-1]]


@contextmanager
def serving(link: FakeLink, *, keys: Keys | None = None, **limits: Any) -> Iterator[Client]:
    with FrontServer(link, ["nld"], Listener(), keys=keys, limits=Limits(**limits)) as front:
        yield Client(front, link)


@pytest.fixture
def front() -> Iterator[Client]:
    with serving(FakeLink()) as client:
        yield client


@pytest.fixture
def front_with() -> Iterator[Callable[..., Client]]:
    """Starts a front whose server answers with the given parts."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda *answer, **options: stack.enter_context(serving(FakeLink(list(answer)), **options))

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A server that speaks OpenAI's API, with a network of ours behind it and a fault that the test chooses."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request
from nld_trt.engine.session import Session
from nld_trt.measure.agreement.scorer import Scorer
from nld_trt.model.text.codec import Codec
from nld_trt.model.text.conversation import Conversation


@dataclass
class Peer:
    """What answers.

    Attributes:
        takes: what completions take, of ``ids``, ``text`` and ``logprobs``; nothing if there are none.
        bos: a token is put before texts.
        ends: answers end.
        thinks: the template opens the thinking.
    """

    session: Session
    codec: Codec
    takes: tuple[str, ...] = ("ids", "text", "logprobs")
    bos: bool = False
    ends: bool = True
    thinks: bool = False
    asked: list[dict[str, Any]] = field(default_factory=list)

    def respond(self, path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        if body is None:
            return 200, {"data": [{"id": "peer"}]}
        self.asked.append(body)
        if path == "/v1/chat/completions":
            conversation = Conversation(body["messages"], variables={"enable_thinking": self.thinks})
            return 200, self.answer(self.codec.encode_conversation(conversation), body, chat=True)
        if not self.takes:
            return 404, {"detail": "Not Found"}
        prompt = body["prompt"]
        form = "text" if isinstance(prompt, str) else "ids"
        for needed in (form, *(["logprobs"] if "logprobs" in body else [])):
            if needed not in self.takes:
                return 400, {"error": {"message": f"{needed} is not supported"}}
        ids = tuple(prompt) if form == "ids" else (*([1] if self.bos else []), *self.codec.encode(prompt))
        return 200, self.answer(ids, body)

    def answer(self, ids: tuple[int, ...], body: dict[str, Any], *, chat: bool = False) -> dict[str, Any]:
        eos = None if self.ends else -1
        request = Request(ids, "ar", max_new_tokens=body["max_tokens"], temperature=0.0, eos_token_id=eos)
        ((_, result),) = generate(Batch(self.session, self.codec), [request])
        choice: dict[str, Any] = {"finish_reason": result.finish_reason}
        choice |= {"message": {"content": result.text}} if chat else {"text": result.text}
        if "logprobs" in body:
            scores = Scorer(self.session).score(ids, result.output_ids, stopped=False)
            choice["logprobs"] = {"token_logprobs": list(scores.logprobs)}
        return {"choices": [choice], "usage": {"prompt_tokens": len(ids)}}


@contextmanager
def listening(respond: Callable[[str, Any], tuple[int, Any]]) -> Iterator[str]:
    """The address of an HTTP server that answers with ``respond``. A text is sent as it is."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(None)

        def do_POST(self) -> None:
            self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def reply(self, body: Any) -> None:
            status, answer = respond(self.path, body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write((answer if isinstance(answer, str) else json.dumps(answer)).encode())

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="session")
def codec(engine) -> Codec:
    found = Codec.open(engine("nld-tiny").path)
    assert found is not None
    return found


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Starts a server for a peer, or for a function, and gives its address."""
    with ExitStack() as stack:
        yield lambda each: stack.enter_context(listening(each.respond if isinstance(each, Peer) else each))

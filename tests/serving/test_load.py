# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Many clients at once for a while, among them bad requests and clients that leave: nobody gets another's answer.

NLD_TRT_TEST_LOAD_SECONDS sets how long; 480 is what a release gets.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from nld_trt.errors import InputError, OperationError
from nld_trt.serving.triton.client import stream

from .conftest import LONG, Server, wait_until

SECONDS = float(os.environ.get("NLD_TRT_TEST_LOAD_SECONDS", "60"))
CLIENTS = 24
# Of all requests; the rest are answered.
BAD, LEAVING, HURRIED = 0.2, 0.1, 0.1

PROMPTS = ("Convert 37 km to m.", "Sort these numbers: 42 17 88 35", "Reverse the letters: k q p", "Add 221 and 427.")
MODES = ("ar", "diffusion", "linear")
REFUSALS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"text_input": ""}, "text_input is empty"),
    ({"text_input": "a", "mode": "fast"}, "mode is 'fast'"),
    ({"text_input": "a", "max_tokens": 0}, "max_tokens is 0"),
    ({"text_input": "a", "max_tokens": 511}, "max_tokens is 511"),
    ({"text_input": "a", "block_length": 33}, "block_length is 33"),
    ({"text_input": "a", "temperature": -1.0}, "temperature is -1.0"),
    ({"text_input": "a", "presence_penalty": 1.0}, "presence_penalty is 1"),
    ({"text_input": "long " * 600}, "the engine was built for 512"),
    ({}, "give either text_input or input_ids"),
)


def questions() -> list[dict[str, Any]]:
    """Requests of every mode, greedy and sampled, short and long."""
    choice = random.Random(11)
    asked = []
    for index, prompt in enumerate(PROMPTS * 6):
        question: dict[str, Any] = {
            "text_input": prompt,
            "mode": MODES[index % 3],
            "max_tokens": choice.randint(1, 60),
        }
        if index % 4 == 3:
            question |= {"temperature": 2.0, "seed": index}
        asked.append(question)
    return asked


class Crowd:
    """Clients that ask for a while and note whatever is not as it must be."""

    def __init__(self, server: Server, asked: list[tuple[dict[str, Any], str]], seconds: float) -> None:
        self.server = server
        self.asked = asked
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self._lock = threading.Lock()
        self._end = time.monotonic() + seconds

    def run(self) -> None:
        threads = [threading.Thread(target=self._client, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self, number: int) -> None:
        choice = random.Random(number)
        while time.monotonic() < self._end and len(self.problems) < 10:
            draw = choice.random()
            bounds = ((BAD, self._bad), (BAD + LEAVING, self._leave), (BAD + LEAVING + HURRIED, self._hurry))
            act = next((act for bound, act in bounds if draw < bound), self._ask)
            try:
                act(choice)
            except Exception as error:
                self._note("failed", f"{act.__name__}: {type(error).__name__}: {error}")
            else:
                self._note(act.__name__)

    def _note(self, what: str, problem: str | None = None) -> None:
        with self._lock:
            self.counts[what] += 1
            if problem is not None:
                self.problems.append(problem)

    def _ask(self, choice: random.Random) -> None:
        question, expected = choice.choice(self.asked)
        ways: tuple[Callable[[dict[str, Any]], str], ...] = (self._grpc, self._generate, self._generate_stream)
        found = choice.choice(ways)(question)
        assert found == expected, f"{question} gave {found!r} and alone {expected!r}"

    def _grpc(self, question: dict[str, Any]) -> str:
        return "".join(chunk.text for chunk in self.server.ask(**question, deadline=600))

    def _generate(self, question: dict[str, Any]) -> str:
        status, text = self.server.post("/v2/models/nld/generate", question)
        assert status == 200, text
        return str(json.loads(text)["text_output"])

    def _generate_stream(self, question: dict[str, Any]) -> str:
        events = self.server.generate_stream(**question, stream=True, timeout=600_000_000)
        assert events[-1]["finish_reason"] in ("stop", "length"), events
        return "".join(event["text_output"] for event in events)

    def _bad(self, choice: random.Random) -> None:
        body, message = choice.choice(REFUSALS)
        if choice.random() < 0.5:
            status, text = self.server.post("/v2/models/nld/generate_stream", body)
            assert status == 400, (status, text)
        else:
            with pytest.raises((OperationError, InputError)) as caught:
                self.server.ask(**body)
            text = str(caught.value)
        assert message in text, (body, text)

    def _leave(self, choice: random.Random) -> None:
        """Go after the first piece of a long answer."""
        question = {"text_input": choice.choice(PROMPTS), **LONG}
        if choice.random() < 0.5:
            chunks = stream(self.server.triton.grpc_url, timeout=120, **question)
            next(chunks)
            chunks.close()
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.server.triton.ports.http, timeout=120)
        try:
            connection.request("POST", "/v2/models/nld/generate_stream", json.dumps({**question, "stream": True}))
            response = connection.getresponse()
            assert response.fp is not None
            response.fp.readline()
            response.close()
        finally:
            connection.close()

    def _hurry(self, choice: random.Random) -> None:
        """Ask for a long answer in a time that is too short."""
        question = {"text_input": choice.choice(PROMPTS), "stream": choice.random() < 0.5, **LONG}
        seconds = choice.choice((1e-6, 1e-3, 0.02))
        if choice.random() < 0.5:
            with pytest.raises(OperationError) as caught:
                self.server.ask(**question, deadline=seconds)
            text = str(caught.value)
        else:
            body = {**question, "timeout": int(seconds * 1e6)}
            text = self.server.post("/v2/models/nld/generate_stream", body)[1]
        ended, refused = ("CANCELLED: the request's timeout" in text), ("UNAVAILABLE: timeout is" in text)
        assert ended != refused, text
        self._note("ended" if ended else "refused")


@pytest.mark.slow
@pytest.mark.triton
def test_under_load_every_client_gets_its_own_answer_and_nothing_is_lost(server, direct) -> None:
    asked = []
    for question in questions():
        options = {name: value for name, value in question.items() if name != "text_input"}
        asked.append((question, direct(question["text_input"], **options).text))
    before = server.total("nld_requests_total")
    gone = server.total("nld_requests_total", finish_reason="cancelled")
    crowd = Crowd(server, asked, SECONDS)
    crowd.run()

    assert crowd.problems == []
    assert all(crowd.counts[name] for name in ("_ask", "_bad", "_leave", "_hurry")), crowd.counts
    # No row is held by a request whose client has gone, and every request that was taken has ended.
    assert wait_until(lambda: server.total("nld_live_rows") == server.total("nld_waiting_requests") == 0)
    taken = crowd.counts["_ask"] + crowd.counts["_leave"] + crowd.counts["ended"]
    assert server.total("nld_requests_total") - before == taken
    cancelled = server.total("nld_requests_total", finish_reason="cancelled") - gone
    assert crowd.counts["ended"] <= cancelled <= crowd.counts["ended"] + crowd.counts["_leave"]

    answers: dict[int, str] = {}
    threads = [
        threading.Thread(target=lambda index=index: answers.update({index: crowd._grpc(asked[index][0])}))
        for index in range(len(asked))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {index: text for index, (_, text) in enumerate(asked)}

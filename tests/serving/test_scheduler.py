# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The decode thread: many clients at once get what each would get alone, and no client's trouble is another's."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import pytest

from nld_trt.decode.batch import Batch
from nld_trt.decode.request import Request
from nld_trt.decode.row import Emission
from nld_trt.engine.session import Session
from nld_trt.errors import InputError, NldError, OperationError
from nld_trt.serving.errors import QueueFull
from nld_trt.serving.scheduler import Scheduler
from tests.serving.conftest import wait_until

SECONDS = 60.0


class Client:
    """A listener that keeps what it hears."""

    def __init__(self, *, gone: bool = False, breaks: bool = False) -> None:
        self.tokens: list[int] = []
        self.finish_reason: str | None = None
        self.error: NldError | None = None
        self.gone, self.breaks = gone, breaks
        self.ended = threading.Event()
        self.started = threading.Event()

    def emitted(self, emission: Emission) -> None:
        if self.breaks:
            raise RuntimeError("connection lost")
        self.tokens += emission.tokens
        self.started.set()
        if emission.finish_reason is not None:
            self.finish_reason = emission.finish_reason
            self.ended.set()

    def failed(self, error: NldError) -> None:
        self.error = error
        self.ended.set()

    def abandoned(self) -> bool:
        return self.gone


# Forwards before a held session waits: enough for a first token of every row, and far from the end of a long request.
FORWARDS = 8


class HeldSession:
    """A session that makes a few forwards and then waits for the test, which can act in between; it can also break."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._left = FORWARDS
        self.released = threading.Event()
        self.broken = False
        # The call that fails, and its error, as those of a GPU that is lost.
        self.lost: tuple[str, Exception] | None = None

    def __getattr__(self, name):
        return getattr(self._session, name)

    def launch(self, buffers) -> None:
        if self._left == 0:
            self.released.wait()
        else:
            self._left -= 1
        if self.broken:
            raise RuntimeError("device lost")
        self._fail_in("launch")
        self._session.launch(buffers)

    def wait(self, buffers) -> None:
        self._fail_in("wait")
        self._session.wait(buffers)

    def _fail_in(self, call: str) -> None:
        if self.lost is not None and self.lost[0] == call:
            raise self.lost[1]


def requests(count: int) -> list[Request]:
    """Different modes, prompts and lengths."""
    choice = random.Random(7)
    return [
        Request(
            tuple(choice.choices(range(16, 90), k=choice.randint(1, 60))),
            choice.choice(("ar", "diffusion", "linear")),
            max_new_tokens=choice.randint(1, 40),
            threshold=choice.choice((0.0, 0.5, 0.9)),
            block_length=choice.choice((4, 8)),
        )
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def session(golden_session):
    return golden_session("tiny-a")


@pytest.fixture
def scheduler(session) -> Iterator[Scheduler]:
    made = Scheduler(Batch(session))
    yield made
    made.close(grace=0)


@pytest.fixture
def held(session):
    """(scheduler, session) with two rows."""
    session = HeldSession(session)
    made = Scheduler(Batch(session, max_rows=2), max_waiting=3)
    yield made, session
    session.released.set()
    made.close(grace=0)


def is_closing(scheduler: Scheduler) -> bool:
    try:
        scheduler.submit(LONG, Client())
    except QueueFull:
        return False
    except OperationError:
        return True
    return False


LONG = Request((20, 21), "ar", max_new_tokens=400, eos_token_id=-1)


def test_results_do_not_depend_on_arrival(session, scheduler) -> None:
    asked = requests(24)
    expected = []
    for request in asked:
        batch = Batch(session)
        row = batch.submit(request)
        list(batch.run())
        expected.append((row.emitted, row.finish_reason))
    clients = [Client() for _ in asked]
    order = list(range(len(asked)))
    random.Random(3).shuffle(order)

    def send(mine: list[int]) -> None:
        for index in mine:
            scheduler.submit(asked[index], clients[index])
            time.sleep(0.002)

    senders = [threading.Thread(target=send, args=(order[start::3],)) for start in range(3)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert all(client.ended.wait(SECONDS) for client in clients)
    assert [(client.tokens, client.finish_reason) for client in clients] == expected
    assert scheduler.pending == 0


def test_cancelled_request_ends_and_frees_its_row(held) -> None:
    scheduler, session = held
    first, second = Client(), Client()
    job = scheduler.submit(LONG, first)
    assert first.started.wait(SECONDS)
    job.cancel()
    session.released.set()
    assert first.ended.wait(SECONDS)
    assert first.finish_reason == "cancelled"
    assert len(first.tokens) < LONG.max_new_tokens
    scheduler.submit(Request((20,), "ar", max_new_tokens=2, eos_token_id=-1), second)
    assert second.ended.wait(SECONDS)
    assert second.finish_reason == "length"


def test_abandoned_requests_are_cancelled_also_while_they_wait(held) -> None:
    scheduler, session = held
    clients = [Client() for _ in range(4)]
    for client in clients:
        scheduler.submit(LONG, client)
    assert clients[0].started.wait(SECONDS)
    for client in clients:
        client.gone = True
    session.released.set()
    assert all(client.ended.wait(SECONDS) for client in clients)
    assert {client.finish_reason for client in clients} == {"cancelled"}
    assert clients[3].tokens == []


def test_client_that_cannot_be_reached_harms_nobody_else(scheduler) -> None:
    bad, good = Client(breaks=True), Client()
    scheduler.submit(LONG, bad)
    scheduler.submit(Request((20,), "ar", max_new_tokens=5, eos_token_id=-1), good)
    assert good.ended.wait(SECONDS)
    assert good.finish_reason == "length"
    deadline = time.monotonic() + SECONDS
    while scheduler.pending and time.monotonic() < deadline:
        time.sleep(0.01)
    assert scheduler.pending == 0


def test_bad_request_is_refused_at_once(scheduler) -> None:
    with pytest.raises(InputError, match="the prompt is empty"):
        scheduler.submit(Request((), "ar"), Client())
    assert scheduler.pending == 0


def test_queue_has_an_end(held) -> None:
    scheduler, _ = held
    for _ in range(5):
        scheduler.submit(LONG, Client())
    with pytest.raises(QueueFull, match="3 requests are waiting"):
        scheduler.submit(LONG, Client())


def test_failure_of_the_engine_reaches_every_client_and_later_ones(held, caplog) -> None:
    scheduler, session = held
    clients = [Client() for _ in range(4)]
    for client in clients:
        scheduler.submit(LONG, client)
    assert clients[0].started.wait(SECONDS)
    session.broken = True
    session.released.set()
    assert all(client.ended.wait(SECONDS) for client in clients)
    assert all("RuntimeError: device lost" in str(client.error) for client in clients)
    with pytest.raises(OperationError, match="device lost"):
        scheduler.submit(LONG, Client())
    assert "device lost" in caplog.text
    assert scheduler.pending == 0


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("call", ["launch", "wait"])
def test_device_that_is_lost_is_told_to_every_client_by_its_reason(held, caplog, call, ahead) -> None:
    scheduler, session = held
    session.runs_ahead = ahead
    clients = [Client() for _ in range(4)]
    for client in clients:
        scheduler.submit(LONG, client)
    assert clients[0].started.wait(SECONDS)
    session.lost = call, OperationError("cuEventSynchronize failed", details=["CUDA_ERROR_LAUNCH_FAILED"])
    session.released.set()
    assert all(client.ended.wait(SECONDS) for client in clients)
    for client in clients:
        assert client.error is not None
        assert client.error.what == "the decode loop failed: cuEventSynchronize failed"
        assert client.error.details == ("CUDA_ERROR_LAUNCH_FAILED",)
    with pytest.raises(OperationError, match=r"Synchronize failed\n  CUDA_ERROR_LAUNCH_FAILED\n.*load the model"):
        scheduler.submit(LONG, Client())
    assert scheduler.pending == 0
    scheduler.close(grace=SECONDS)


def test_closing_lets_requests_end(session) -> None:
    scheduler, client = Scheduler(Batch(session)), Client()
    scheduler.submit(Request((20,), "ar", max_new_tokens=30, eos_token_id=-1), client)
    scheduler.close(grace=SECONDS)
    assert (client.finish_reason, len(client.tokens)) == ("length", 30)
    with pytest.raises(OperationError, match="shutting down"):
        scheduler.submit(LONG, Client())


def test_closing_cancels_what_takes_longer_than_the_grace(held) -> None:
    scheduler, session = held
    clients = [Client() for _ in range(3)]
    for client in clients:
        scheduler.submit(LONG, client)
    grace = 0.05
    closing = threading.Thread(target=scheduler.close, args=(grace,))
    closing.start()
    assert wait_until(lambda: is_closing(scheduler))
    # Whatever the machine does, the grace is over after this.
    time.sleep(2 * grace)
    session.released.set()
    closing.join()
    assert {client.finish_reason for client in clients} == {"cancelled"}

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The outbox: nothing is lost, nothing waits for the next, and little goes in messages of its own."""

from __future__ import annotations

import threading
import time

import pytest

from nld_trt.serving.outbox import Outbox


class Client:
    """Gathers what is ready, and counts the messages in which it was sent."""

    def __init__(self):
        self.ready, self.sent = [], []
        self.arrived = threading.Event()

    def send_ready(self):
        count = len(self.ready)
        self.sent.append(self.ready[:count])
        del self.ready[:count]
        self.arrived.set()


@pytest.fixture
def outbox():
    made = Outbox(0.05)
    yield made
    made.close()


def test_the_first_response_does_not_wait(outbox):
    slow = Outbox(60.0)
    client = Client()
    client.ready.append(1)
    slow.put(client)
    assert client.arrived.wait(10)
    slow.close()


def test_the_last_response_does_not_wait():
    outbox, client = Outbox(60.0), Client()
    for number, last in enumerate([False, False, True]):
        client.arrived.clear()
        client.ready.append(number)
        outbox.put(client, last=last)
        if number != 1:
            assert client.arrived.wait(10)
    assert client.sent == [[0], [1, 2]]
    outbox.close()


def test_what_is_ready_soon_after_goes_out_together(outbox):
    client = Client()
    for number in range(200):
        client.ready.append(number)
        outbox.put(client)
        time.sleep(0.001)
    outbox.close()
    assert [number for message in client.sent for number in message] == list(range(200))
    assert len(client.sent) < 50


def test_closing_sends_what_is_ready():
    outbox, clients = Outbox(60.0), [Client() for _ in range(5)]
    for _ in range(2):
        for client in clients:
            client.ready.append(1)
            outbox.put(client)
    outbox.close()
    assert [sum(map(len, client.sent)) for client in clients] == [2] * 5


def test_clients_that_have_ended_are_forgotten(outbox):
    for _ in range(100):
        client = Client()
        outbox.put(client)
        outbox.put(client, last=True)
    outbox.close()
    assert not outbox._sent
    assert not outbox._due

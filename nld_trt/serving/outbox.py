# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The thread that sends responses, so that the decode loop does not wait for the server to take them.

A response to a Triton server is a message to another process, whose receipt is waited for. What is ready for a client
while its last response is still fresh goes out with the next one: nothing waits longer than a set time, and a client
for whom a token is ready every millisecond does not get every one in a message of its own.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Sender(Protocol):
    """Somebody for whom responses can be ready."""

    def send_ready(self) -> None:
        """Send all that is ready in one response. It is called on the outbox's thread, and does not raise."""


class Outbox:
    """Sends what is ready for each client, at most once in ``interval`` seconds.

    Args:
        interval: seconds between two responses to one client. A client's first response and its last do not wait.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._wake = threading.Condition()
        # The fields below are guarded by _wake. Times are those of time.monotonic.
        self._due: dict[Sender, float] = {}
        self._sent: dict[Sender, float] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="nld-send", daemon=True)
        self._thread.start()

    def put(self, sender: Sender, *, last: bool = False) -> None:
        """Note that something is ready. ``last`` says that nothing will follow it, so that it is sent at once."""
        with self._wake:
            due = 0.0 if last else self._sent.get(sender, 0.0) + self._interval
            if sender not in self._due or due < self._due[sender]:
                self._due[sender] = due
                self._wake.notify()
            if last:
                self._sent.pop(sender, None)
            else:
                self._sent.setdefault(sender, 0.0)

    def close(self) -> None:
        """Send what is ready, and stop the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while (sender := self._next()) is not None:
            sender.send_ready()

    def _next(self) -> Sender | None:
        """Wait for a response that is due. Returns None where the thread should stop."""
        with self._wake:
            while True:
                now = time.monotonic()
                sender = min(self._due, key=self._due.__getitem__, default=None)
                if sender is None and self._closing:
                    return None
                if sender is not None and (self._closing or self._due[sender] <= now):
                    del self._due[sender]
                    if sender in self._sent:
                        self._sent[sender] = now
                    return sender
                self._wake.wait(None if sender is None else self._due[sender] - now)

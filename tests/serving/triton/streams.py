# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Clients with open streams, and one that looks at a server's state."""

from __future__ import annotations

import http.client
import threading

from nld_trt.errors import OperationError
from nld_trt.serving.triton.client import stream
from tests.serving.conftest import wait_until

# A token of its own for every response, for some seconds.
ENDLESS = {"input_ids": [1, 5, 6], "max_tokens": 500, "mode": "ar", "ignore_eos": True}

# A forward of a whole block for every token, so that no stream ends before something has happened to it.
LASTING = {"mode": "diffusion", "threshold": -1.0, "block_length": 32}


class Streams:
    """Clients with open streams, and how each of them ended."""

    def __init__(self, url: str, count: int, **inputs) -> None:
        self.ends: list[str] = []
        self.open = 0
        self._question = {**ENDLESS, **inputs}
        self._threads = [threading.Thread(target=self._ask, args=(url,)) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def wait_until_open(self, count: int | None = None) -> None:
        """Wait until so many streams have had a response; None means all, which a server may not have rows for."""
        wanted = len(self._threads) if count is None else count
        assert wait_until(lambda: self.open >= wanted)

    def wait_until_ended(self, seconds: float) -> list[str]:
        for thread in self._threads:
            thread.join(seconds)
        assert not any(thread.is_alive() for thread in self._threads)
        return self.ends

    def _ask(self, url: str) -> None:
        end, begun = "", False
        try:
            for chunk in stream(url, timeout=60, **self._question):
                self.open += not begun
                begun = True
                end = chunk.finish_reason
        except OperationError as error:
            end = str(error)
        self.ends.append(end)


def get(url: str, path: str) -> int:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except ConnectionError:
        return 0
    finally:
        connection.close()

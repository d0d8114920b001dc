# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The front as a running HTTP server, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from nld_trt.errors import OperationError
from nld_trt.optional import require
from nld_trt.serving.openai.auth import Keys
from nld_trt.serving.openai.limits import Limits
from nld_trt.serving.openai.link import Link
from nld_trt.serving.openai.listener import Listener

_START_SECONDS: Final = 30.0
# Seconds for which a connection without a request is kept.
_KEEP_ALIVE_SECONDS: Final = 30
# The time in which requests that were told to end do so, before uvicorn cancels them.
_LAST_SECONDS: Final = 2.0


class FrontServer:
    """An HTTP server for OpenAI's clients, between entering and leaving the context.

    >>> with FrontServer(TritonLink("localhost:8001"), ["nld"], Listener()) as front:  # doctest: +SKIP
    ...     print(front.listener.url)

    Leaving it refuses new connections, gives open requests some seconds, and ends the rest with an error.

    Args:
        models: names of the server's models.
        listener: where clients connect.
        keys: who may use it; everybody if None.
    """

    def __init__(
        self,
        link: Link,
        models: Sequence[str],
        listener: Listener,
        *,
        keys: Keys | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._uvicorn = require("uvicorn", wanted_by="front")
        require("fastapi", wanted_by="front")
        from nld_trt.serving.openai.app import Front

        self.listener = listener
        self._limits = limits or Limits()
        self._front = Front(link, models, keys or Keys(), self._limits)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: Any = None
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        """Start to listen.

        Raises:
            OperationError: the server did not start.
        """
        from nld_trt.serving.openai.app import make_app

        config = self._uvicorn.Config(
            make_app(self._front),
            # Both are what limits headers, and neither needs a compiler.
            http="h11", loop="asyncio", ws="none", h11_max_incomplete_event_size=self._limits.max_header_bytes,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=round(self._limits.exit_seconds + _LAST_SECONDS),
            access_log=False, log_config=None, server_header=False,
        )  # fmt: skip
        self._server = self._uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="nld-front", daemon=True)
        self._thread.start()
        try:
            self._wait_started(self._thread)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop listening, and end what is open. Does nothing if the server has ended."""
        assert self._thread is not None
        self._server.should_exit = True
        self._thread.join(self._limits.exit_seconds)
        if self._thread.is_alive() and self._loop is not None:
            # What is still open ends with an error, which its client can read.
            with suppress(RuntimeError):  # the loop has just ended
                self._loop.call_soon_threadsafe(self._front.stopping.set)
        self._thread.join(2 * _LAST_SECONDS)

    def wait(self) -> None:
        """Wait until the server ends.

        Raises:
            OperationError: it ended without being stopped.
        """
        assert self._thread is not None
        self._thread.join()
        raise OperationError(f"the OpenAI front ended: {self._failure or 'see the log above'}")

    def _wait_started(self, thread: threading.Thread) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise OperationError(f"the OpenAI front did not start: {self._failure or 'see the log above'}")
            time.sleep(0.01)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve(sockets=[self.listener.socket])

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self.listener.close()

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Server-sent events: a response whose client may leave at any time, or stop reading."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from typing import Any, Final, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from nld_trt.serving.openai.errors import ApiError
from nld_trt.serving.openai.metrics import LEFT, Watch

Result = TypeVar("Result")
DONE: Final = b"data: [DONE]\n\n"
_HEADERS: Final = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class ClientLeft(Exception):
    """The client closed the connection, or reads nothing any more."""


def event(value: Any) -> bytes:
    """Returns one event, whose data is JSON without line breaks."""
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


async def while_connected(work: Awaitable[Result], receive: Receive) -> Result:
    """Await ``work``, and cancel it as soon as the client has closed the connection. The body has been read before.

    Raises:
        ClientLeft: it has.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientLeft
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """A response of server-sent events, which ends with ``[DONE]``.

    An error in the middle is an event as well: the status has been sent by then.

    Args:
        first: what the first event holds. It exists before the response begins, so that an error has a status.
        rest: what the other events hold.
        watch: is told how the response ended.
        stack: is closed when the response has ended, however that happens.
        stall_seconds: longest time in which the client reads nothing.
    """

    media_type = "text/event-stream"

    def __init__(
        self, first: Any, rest: AsyncIterator[Any], *, watch: Watch, stack: AsyncExitStack, stall_seconds: float
    ) -> None:
        super().__init__(headers=_HEADERS)
        # The length is not known.
        del self.headers["content-length"]
        self._first = first
        self._rest = rest
        self._watch = watch
        self._stack = stack
        self._stall_seconds = stall_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._stack:
            try:
                await while_connected(self._send_all(send), receive)
            except ClientLeft:
                self._watch.status = LEFT

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            await self._send(send, event(self._first))
            async for value in self._rest:
                await self._send(send, event(value))
        except ApiError as error:
            self._watch.status = error.kind.status
            await self._send(send, event(error.body))
        await self._send(send, DONE, more=False)

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        try:
            async with asyncio.timeout(self._stall_seconds):
                await send({"type": "http.response.body", "body": body, "more_body": more})
        except TimeoutError as error:
            raise ClientLeft from error

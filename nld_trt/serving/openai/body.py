# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The body of a request, within limits of its length and of the time that it takes to arrive."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

from nld_trt.serving.openai.errors import INVALID, SLOW_BODY, TOO_LARGE, ApiError
from nld_trt.serving.openai.limits import Limits
from nld_trt.serving.openai.stream import ClientLeft


async def read_body(request: Request, limits: Limits) -> bytes:
    """Returns the whole body. One that says that it is too long is refused before it is read.

    Raises:
        ApiError: it is longer than the limit, or does not arrive in time.
        ClientLeft: the client has closed the connection.
    """
    told = request.headers.get("content-length", "0")
    if not told.isdecimal():
        raise ApiError(INVALID, "the header Content-Length is not a number")
    _check(int(told), limits)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for part in request.stream():
                body += part
                _check(len(body), limits)
    except TimeoutError as error:
        raise ApiError(SLOW_BODY, f"the body did not arrive within {limits.body_seconds:g} s") from error
    except ClientDisconnect as error:
        raise ClientLeft from error
    return bytes(body)


def _check(length: int, limits: Limits) -> None:
    if length > limits.max_body_bytes:
        raise ApiError(TOO_LARGE, f"the body has more than {limits.max_body_bytes} bytes")

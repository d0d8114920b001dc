# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""All choices of one request, which are asked at the same time and arrive in any order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from nld_trt.serving.openai.errors import UNAVAILABLE, ApiError
from nld_trt.serving.openai.limits import Limits
from nld_trt.serving.openai.link import Link
from nld_trt.serving.openai.request import Asked
from nld_trt.serving.triton.client import Chunk

# The finish reason of a request that nobody cancelled here: the server is ending.
_CANCELLED = "cancelled"
_STOPPED = "the server is stopping and ended the answer"


async def choices(
    asked: Asked, link: Link, limits: Limits, stopping: asyncio.Event
) -> AsyncGenerator[tuple[int, Chunk], None]:
    """Ask for every choice, and yield each chunk with the number of its choice. Closing the generator cancels all.

    Args:
        stopping: is set when no answer may go on.

    Raises:
        ApiError: a choice failed, and the others are cancelled; or the front is stopping.
    """
    # A reader that is slow holds up the choices: nothing piles up here.
    arrived: asyncio.Queue[tuple[int, Chunk] | BaseException | None] = asyncio.Queue(maxsize=1)

    async def ask(number: int) -> None:
        source = link.generate(
            asked.model, asked.inputs[number], asked.parameters, timeout=limits.timeout, deadline=limits.deadline
        )
        try:
            async with aclosing(source):
                async for chunk in source:
                    if chunk.finish_reason == _CANCELLED:
                        raise ApiError(UNAVAILABLE, _STOPPED)
                    await arrived.put((number, chunk))
            await arrived.put(None)
        except Exception as error:
            await arrived.put(error)

    async def stop() -> None:
        await stopping.wait()
        await arrived.put(ApiError(UNAVAILABLE, _STOPPED))

    running = len(asked.inputs)
    tasks = [asyncio.create_task(each) for each in (*map(ask, range(running)), stop())]
    try:
        while running:
            match await arrived.get():
                case None:
                    running -= 1
                case BaseException() as error:
                    raise error
                case item:
                    yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

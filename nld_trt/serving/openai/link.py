# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The link to a Triton server: asynchronous gRPC streams, one for each choice of a request."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Final, Protocol

from nld_trt.errors import InputError
from nld_trt.optional import require
from nld_trt.serving.openai.errors import TIMEOUT, UNAVAILABLE, ApiError, of_input, of_server
from nld_trt.serving.triton.client import (
    Chunk,
    channel_options,
    grpc_address,
    input_tensor,
    microseconds,
    read_response,
)
from nld_trt.serving.triton.probe import PARAMETER

# Seconds that a question about the server's state may take.
_QUESTION_SECONDS: Final = 5.0
# gRPC would try ever more rarely to reach a server that is being restarted, at last every two minutes.
_RECONNECT: Final = [("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 2000)]


class Link(Protocol):
    """What the front needs of a server. All calls are made on one event loop."""

    async def connect(self) -> None:
        """Prepare the link; the server need not answer yet."""

    async def close(self) -> None:
        """Release everything."""

    async def ready(self, model: str) -> bool:
        """Whether the server answers, has loaded the model, and the model is able to decode."""

    async def metrics(self) -> str:
        """Returns the server's own metrics as Prometheus writes them, or nothing if they cannot be had."""

    def generate(
        self,
        model: str,
        inputs: Mapping[str, Any],
        parameters: Mapping[str, Any],
        *,
        timeout: float,
        deadline: float | None,
    ) -> AsyncGenerator[Chunk, None]:
        """Ask, and yield the responses. Closing the generator early cancels the request on the server.

        Args:
            timeout: longest time to wait for a response, in seconds.
            deadline: seconds until the answer must be complete, which the server keeps.

        Raises:
            ApiError: the server refuses or ends the request, or does not answer.
        """  # fmt: skip


class TritonLink:
    """The link to a real server.

    Args:
        url: its gRPC address, ``HOST:PORT``.
        metrics_url: its address for Prometheus, or None.

    Raises:
        InputError: the address is not one.
    """

    def __init__(self, url: str, metrics_url: str | None = None) -> None:
        self._address = grpc_address(url)
        self._metrics_url = metrics_url
        self._grpc = require("tritonclient.grpc", wanted_by="front")
        self._aio = require("tritonclient.grpc.aio", wanted_by="front")
        self._client: Any = None

    async def connect(self) -> None:
        options = [*channel_options(self._address), *_RECONNECT]
        self._client = self._aio.InferenceServerClient(self._address, channel_args=options)

    async def close(self) -> None:
        await self._client.close()

    async def ready(self, model: str) -> bool:
        from tritonclient.utils import InferenceServerException

        try:
            if not await self._client.is_model_ready(model, client_timeout=_QUESTION_SECONDS):
                return False
            # Triton says ready also when the model's process is dead, so the model is asked itself.
            probe = self.generate(model, {}, {PARAMETER: True}, timeout=_QUESTION_SECONDS, deadline=None)
            return [chunk async for chunk in probe] != []
        except (InferenceServerException, ApiError):
            return False

    async def metrics(self) -> str:
        return "" if self._metrics_url is None else await asyncio.to_thread(_fetch, self._metrics_url)

    async def generate(
        self, model: str, inputs: Mapping[str, Any], parameters: Mapping[str, Any], *, timeout: float,
        deadline: float | None,
    ) -> AsyncGenerator[Chunk, None]:  # fmt: skip
        import grpc

        try:
            tensors = [input_tensor(self._grpc, name, value) for name, value in inputs.items()]
        except InputError as error:
            raise of_input(error) from error
        request = {
            "model_name": model,
            "inputs": tensors,
            "timeout": microseconds(deadline),
            "parameters": dict(parameters),
        }
        responses = self._client.stream_infer(_once(request))
        ended = finished = False
        try:
            while not ended:
                try:
                    async with asyncio.timeout(timeout):
                        result, refusal = await anext(responses)
                except StopAsyncIteration:
                    ended = True
                    break
                if refusal is not None:
                    raise of_server(str(refusal.message()))
                chunk = read_response(result)
                if chunk is not None:
                    finished = bool(chunk.finish_reason)
                    yield chunk
        except TimeoutError as error:
            raise ApiError(TIMEOUT, f"the server sent nothing for {timeout:g} s; the request was cancelled") from error
        except grpc.aio.AioRpcError as error:
            raise ApiError(
                UNAVAILABLE, f"the Triton server at {self._address} does not answer: {error.details()}"
            ) from error
        finally:
            if not ended:
                responses.cancel()
        if not finished:
            raise ApiError(UNAVAILABLE, f"the Triton server at {self._address} ended the answer before its end")


async def _once(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield request


def _fetch(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_QUESTION_SECONDS) as response:
            return str(response.read().decode())
    except (urllib.error.URLError, OSError):
        return ""

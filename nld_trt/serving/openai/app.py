# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The front as an ASGI application: its endpoints, and every error in OpenAI's form."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response

from nld_trt.files.json_text import JsonError, parse_json
from nld_trt.serving.openai.answer import Answer
from nld_trt.serving.openai.auth import Keys
from nld_trt.serving.openai.body import read_body
from nld_trt.serving.openai.choices import choices
from nld_trt.serving.openai.errors import BUSY, INTERNAL, INVALID, NO_MODEL, NO_PATH, UNAVAILABLE, ApiError, Kind
from nld_trt.serving.openai.forms import FORMS, Form
from nld_trt.serving.openai.limits import Limits
from nld_trt.serving.openai.link import Link
from nld_trt.serving.openai.metrics import CONTENT_TYPE, LEFT, Metrics, Watch
from nld_trt.serving.openai.request import parse
from nld_trt.serving.openai.stream import ClientLeft, EventStream, while_connected

log = logging.getLogger(__name__)

# The status of a response that nobody reads; nginx's for a client that closed the connection.
_NOBODY: Final = 499
_OWNER: Final = "nld-trt"


@dataclass(frozen=True)
class Front:
    """What the endpoints share.

    Attributes:
        models: names of the models that are served, which are those of the server.
        created: when the front was started, in seconds since 1970.
        stopping: is set when no answer may go on.
    """

    link: Link
    models: Sequence[str]
    keys: Keys = field(default_factory=Keys)
    limits: Limits = field(default_factory=Limits)
    metrics: Metrics = field(default_factory=Metrics)
    created: int = field(default_factory=lambda: int(time.time()))
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def complete(self, request: Request, form: Form) -> Response:
        """Answer a request for a completion, whole or as a stream.

        Raises:
            ApiError: the request is refused, or failed before its first token.
            ClientLeft: the client has closed the connection.
        """
        async with AsyncExitStack() as stack:
            watch = stack.enter_context(self.metrics.watching(form.path))
            try:
                return await self._complete(request, form, watch, stack)
            except ApiError as error:
                watch.status = error.kind.status
                raise
            except ClientLeft:
                watch.status = LEFT
                raise
            except Exception:
                watch.status = INTERNAL.status
                raise

    async def _complete(self, request: Request, form: Form, watch: Watch, stack: AsyncExitStack) -> Response:
        self.keys.check(request.headers.get("authorization"))
        if self.metrics.open > self.limits.max_open:
            raise ApiError(BUSY, f"{self.limits.max_open} requests are open; send it again later")
        asked = parse(await self._body(request), form, self.models, max_choices=self.limits.max_choices)
        answer = Answer(asked)
        watch.tally = answer.tally
        arrivals = choices(asked, self.link, self.limits, self.stopping)
        stack.push_async_callback(arrivals.aclose)
        if not asked.stream:
            return JSONResponse(await while_connected(answer.whole(arrivals), request.receive))
        chunks = answer.chunks(arrivals)
        stack.push_async_callback(chunks.aclose)
        first = await while_connected(anext(chunks), request.receive)
        watch.arrived()
        return EventStream(first, chunks, watch=watch, stack=stack.pop_all(), stall_seconds=self.limits.stall_seconds)

    async def _body(self, request: Request) -> Any:
        try:
            return parse_json(await read_body(request, self.limits))
        except JsonError as error:
            raise ApiError(INVALID, f"the body {error.what}") from error

    async def check_ready(self) -> None:
        """Raises ApiError if a model is not ready."""
        found = await asyncio.gather(*(self.link.ready(model) for model in self.models))
        waiting = [model for model, ready in zip(self.models, found, strict=True) if not ready]
        if waiting:
            raise ApiError(UNAVAILABLE, f"not ready: {', '.join(waiting)}")

    def describe(self, model: str) -> dict[str, Any]:
        return {"id": model, "object": "model", "created": self.created, "owned_by": _OWNER, "root": model}


def make_app(front: Front) -> FastAPI:
    """Make the application that serves ``front``."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await front.link.connect()
        try:
            yield
        finally:
            await front.link.close()

    # There is no page that describes the endpoints: it would load scripts from the network.
    app = FastAPI(title="nld-trt", lifespan=lifespan, openapi_url=None)
    for form in FORMS:
        _add_completion(app, front, form)
    _add_models(app, front)
    _add_state(app, front)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientLeft, _client_left)
    app.add_exception_handler(Exception, _internal_error)
    return app


def _add_completion(app: FastAPI, front: Front, form: Form) -> None:
    @app.post(form.path, response_model=None)
    async def complete(request: Request) -> Response:
        return await front.complete(request, form)


def _add_models(app: FastAPI, front: Front) -> None:
    @app.get("/v1/models", response_model=None)
    async def models(request: Request) -> dict[str, Any]:
        front.keys.check(request.headers.get("authorization"))
        return {"object": "list", "data": [front.describe(model) for model in front.models]}

    @app.get("/v1/models/{model:path}", response_model=None)
    async def one_model(request: Request, model: str) -> dict[str, Any]:
        front.keys.check(request.headers.get("authorization"))
        if model not in front.models:
            raise ApiError(
                NO_MODEL, f"there is no such model; this server has {', '.join(front.models)}", param="model"
            )
        return front.describe(model)


def _add_state(app: FastAPI, front: Front) -> None:
    """Add the endpoints for orchestrators, which need no key: they say nothing about requests' content."""

    @app.get("/health", response_model=None)
    @app.get("/health/ready", response_model=None)
    async def ready() -> Response:
        await front.check_ready()
        return PlainTextResponse("ready\n")

    @app.get("/health/live", response_model=None)
    async def live() -> Response:
        return PlainTextResponse("live\n")

    @app.get("/metrics", response_model=None)
    async def metrics() -> Response:
        return Response(front.metrics.text() + await front.link.metrics(), media_type=CONTENT_TYPE)


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body, error.kind.status, headers=error.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    """Errors of the framework: a path or a method that does not exist."""
    assert isinstance(error, HTTPException)
    kind = NO_PATH if error.status_code == NO_PATH.status else Kind(error.status_code, INVALID.type)
    found = ApiError(kind, f"{request.method} {request.url.path}: {error.detail}")
    return JSONResponse(found.body, error.status_code, headers=error.headers)


async def _client_left(request: Request, error: Exception) -> Response:
    return Response(status_code=_NOBODY)


async def _internal_error(request: Request, error: Exception) -> Response:
    """A defect. The client gets no detail; the log has the traceback, because the framework raises the error again."""
    return JSONResponse(ApiError(INTERNAL, "internal error; the server's log has the reason").body, INTERNAL.status)

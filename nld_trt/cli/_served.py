# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A server that a sweep measures, by its address: OpenAI-compatible, or a Triton server with a front before it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nld_trt.cli._output import output
from nld_trt.errors import InputError
from nld_trt.optional import require

if TYPE_CHECKING:
    from nld_trt.measure.aiperf.endpoint import Endpoint

# Flags of a sweep that say how this process opens an engine.
_ENGINE_FLAGS = ("backend", "chat_template", "scripted_acceptance")
# Flags of a sweep of a server.
_SERVER_FLAGS = ("model_name", "aiperf", "num_gpus")


@dataclass(frozen=True)
class Served:
    """A model that answers.

    Attributes:
        words: how requests reach it.
    """

    endpoint: Endpoint
    model: str
    words: str


def is_address(target: str) -> bool:
    """Whether what a user gave is an address, and not a folder."""
    return "://" in target or (re.fullmatch(r"[^/\s]+:\d+", target) is not None and not Path(target).exists())


def refuse_other_flags(target: str, options: Mapping[str, object]) -> None:
    """Refuse flags that are for an engine where a server is given, and the other way round."""
    wrong, kind = (_ENGINE_FLAGS, "a server") if is_address(target) else (_SERVER_FLAGS, "an engine folder")
    for name in wrong:
        if options[name] is not None:
            raise InputError(f"--{name.replace('_', '-')} has no meaning for {kind}, which {target} is")


@contextmanager
def served_model(address: str, model: str | None) -> Iterator[Served]:
    """Find the model at an address. Before a Triton server a front is started, which ends with the context.

    Raises:
        InputError: nothing answers there, or it has no such model.
    """
    from nld_trt.measure.aiperf.endpoint import Endpoint

    if address.partition("://")[0] in ("http", "https"):
        endpoint = Endpoint.parse(address)
        models = endpoint.models()
        if models is not None:
            yield Served(endpoint, _chosen(endpoint.url, models, model), endpoint.url)
            return
        address = _grpc_beside(endpoint)
    with _fronted(address, model) as served:
        yield served


@contextmanager
def _fronted(url: str, asked: str | None) -> Iterator[Served]:
    from nld_trt.measure.aiperf.endpoint import Endpoint

    for module in ("fastapi", "uvicorn"):
        require(module, wanted_by="sweep URL, for a Triton server,")
    from nld_trt.serving.openai.link import TritonLink
    from nld_trt.serving.openai.listener import Listener
    from nld_trt.serving.openai.server import FrontServer
    from nld_trt.serving.triton.client import grpc_address
    from nld_trt.serving.triton.reachable import ready_models

    address = grpc_address(url)
    model = _chosen(address, ready_models(address), asked)
    output.note(f"{address} is a Triton server: requests pass a front in this process, as nld-trt front starts it")
    with FrontServer(TritonLink(address), [model], Listener()) as front:
        yield Served(Endpoint(front.listener.url), model, f"grpc://{address} through nld-trt front")


def _chosen(url: str, models: list[str], asked: str | None) -> str:
    if asked is None and len(models) == 1:
        return models[0]
    if asked not in models:
        found = f"has no model {asked} that is ready" if asked is not None else f"has {len(models)} models"
        listed = ", ".join(models) or "none"
        raise InputError(f"the server at {url} {found}", fix=f"Name one of its models with --model-name: {listed}")
    return asked


def _grpc_beside(endpoint: Endpoint) -> str:
    """Return Triton's gRPC address, beside its address for HTTP: by default it is on the next port.

    Raises:
        InputError: the server is no Triton server.
    """
    _, body = endpoint.request("/v2")
    parts = urlsplit(endpoint.url)
    if not isinstance(body, dict) or body.get("name") != "triton" or parts.port is None:
        raise InputError(
            f"the server at {endpoint.url} is neither OpenAI-compatible (no /v1/models) nor a Triton server",
            fix="Give the address of one that is, such as http://localhost:9000 or localhost:8001.",
        )
    return f"{parts.hostname}:{parts.port + 1}"

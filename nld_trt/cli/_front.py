# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The OpenAI front as two commands start it: alone, or beside the Triton server that they start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nld_trt.cli._output import output
from nld_trt.errors import InputError
from nld_trt.optional import require

if TYPE_CHECKING:
    from nld_trt.serving.openai.auth import Keys
    from nld_trt.serving.openai.listener import Listener
    from nld_trt.serving.triton.server import TritonServer


def listen(host: str, port: int | None, keys: Keys) -> Listener | None:
    """Take the address for OpenAI's clients, before the work begins. None without a port.

    Raises:
        InputError: the address cannot be used, a module that the front needs is not installed, or there are keys for
            no front.
    """
    if port is None:
        if keys:
            raise InputError(
                "--api-key-file is for OpenAI's clients; Triton's own ports ask for no key",
                fix="Add --openai-port PORT.",
            )
        return None
    from nld_trt.serving.openai.listener import Listener

    for module in ("fastapi", "uvicorn"):
        require(module, wanted_by="serve --openai-port")
    return Listener(host, port)


@contextmanager
def front_beside(server: TritonServer, models: Sequence[str], listener: Listener | None, keys: Keys) -> Iterator[None]:
    """Serve OpenAI's clients while the body runs, in front of ``server``; without a listener, nobody."""
    if listener is None:
        yield
        return
    from nld_trt.serving.openai.limits import Limits
    from nld_trt.serving.openai.link import TritonLink
    from nld_trt.serving.openai.server import FrontServer

    link = TritonLink(server.grpc_url, server.metrics_url)
    with FrontServer(link, models, listener, keys=keys, limits=Limits(exit_seconds=server.shutdown_timeout)):
        try:
            yield
        finally:
            # The front waits for its requests before the server is stopped: the model may count from now on.
            server.announce_stop()


def advise(listener: Listener, model: str, keys: Keys) -> None:
    """Say how to try the front, and that it is open to a network if it is."""
    header = " -H 'Authorization: Bearer KEY'" if keys else ""
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Sort these numbers: 42 17 88 35"}}]}}'
    output.note(f"try: curl {listener.url}/v1/chat/completions{header} -d '{body}'")
    if not keys and not listener.is_local:
        output.warn(f"{listener.host} is open to the network and asks for no API key: see --api-key-file")

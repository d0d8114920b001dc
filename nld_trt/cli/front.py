# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt front``: an HTTP server for OpenAI's clients, in front of a Triton server, until it is stopped."""

from __future__ import annotations

from pathlib import Path

import click

from nld_trt import names
from nld_trt.cli._front import advise
from nld_trt.cli._output import json_option, output


@click.command("front")
@click.option(
    "--triton", default=f"localhost:{names.GRPC_PORT}", metavar="HOST:PORT", help="gRPC address of the Triton server."
)
@click.option("--host", default=names.DEFAULT_HOST, help="Address to listen on; 0.0.0.0 for every network.")
@click.option("--port", type=int, default=names.OPENAI_PORT, help="Port to listen on; 0 for any free one.")
@click.option(
    "--model-name", "models", multiple=True, default=(names.DEFAULT_MODEL_NAME,),
    help="Name of a model on the server; may be given several times.",
)  # fmt: skip
@click.option(
    "--api-key-file", type=click.Path(path_type=Path), default=None,
    help="File with one API key on each line, of which requests must have one. Default: requests need none.",
)  # fmt: skip
@click.option(
    "--triton-metrics", default=None, metavar="URL",
    help="Address of the Triton server's metrics, which /metrics then has as well.",
)  # fmt: skip
@click.option("--max-body-bytes", type=int, default=names.DEFAULT_MAX_BODY_BYTES, help="Longest body of a request.")
@click.option(
    "--timeout", type=float, default=names.DEFAULT_CLIENT_TIMEOUT,
    help="Longest wait for the server's next piece, or for a whole answer that is not streamed, in seconds.",
)  # fmt: skip
@click.option(
    "--deadline", type=float, default=None,
    help="Seconds for a whole answer; the server ends a later one. Default: none.",
)  # fmt: skip
@json_option
def command(
    triton: str,
    *,
    host: str,
    port: int,
    models: tuple[str, ...],
    api_key_file: Path | None,
    triton_metrics: str | None,
    max_body_bytes: int,
    timeout: float,
    deadline: float | None,
) -> None:
    """Serve /v1/chat/completions, /v1/completions and /v1/models in front of a running Triton server.

    The Triton server may be on another machine, and may be started later: until its models are ready, /health and
    requests are answered with 503. Ctrl-C, SIGTERM or SIGHUP stops the front: open requests have ten seconds to end.

    \b
    Examples:
      nld-trt front --triton localhost:8001
      nld-trt front --triton gpu-machine:8001 --host 0.0.0.0 --api-key-file keys.txt
    """
    from nld_trt.serving.openai.auth import Keys
    from nld_trt.serving.openai.limits import Limits
    from nld_trt.serving.openai.link import TritonLink
    from nld_trt.serving.openai.listener import Listener
    from nld_trt.serving.openai.server import FrontServer

    keys = Keys.read(api_key_file)
    limits = Limits(max_body_bytes=max_body_bytes, timeout=timeout, deadline=deadline)
    link = TritonLink(triton, triton_metrics)
    try:
        with FrontServer(link, models, Listener(host, port), keys=keys, limits=limits) as front:
            url = front.listener.url
            output.result({"models": models, "url": url, "triton": triton}, f"OpenAI  {url}/v1")
            advise(front.listener, models[0], keys)
            output.note("Ctrl-C stops the front")
            front.wait()
    except KeyboardInterrupt:  # to be stopped is how serving ends well
        pass

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt serve``: a Triton server on a model repository, until it is stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nld_trt import names
from nld_trt.cli._front import advise, front_beside, listen
from nld_trt.cli._output import json_option, output
from nld_trt.errors import InputError

if TYPE_CHECKING:
    from nld_trt.serving.openai.listener import Listener
    from nld_trt.serving.triton.ports import Ports
    from nld_trt.serving.triton.server import TritonServer


@click.command("serve")
@click.argument("repo_dir", type=click.Path(path_type=Path))
@click.option("--host", default=names.DEFAULT_HOST, help="Address to listen on; 0.0.0.0 for every network.")
@click.option("--http-port", type=int, default=names.HTTP_PORT, help="Port for HTTP; 0 for any free one.")
@click.option("--grpc-port", type=int, default=names.GRPC_PORT, help="Port for gRPC; 0 for any free one.")
@click.option(
    "--metrics-port", type=int, default=names.METRICS_PORT, help="Port for Prometheus metrics; 0 for any free one."
)
@click.option(
    "--openai-port", type=int, default=None,
    help="Port for OpenAI's clients, 0 for any free one. Default: they are not served.",
)  # fmt: skip
@click.option(
    "--api-key-file", type=click.Path(path_type=Path), default=None,
    help="With --openai-port: file with one API key on each line, of which requests must have one.",
)  # fmt: skip
@click.option("--log-file", type=click.Path(path_type=Path), help="Log of the server. Default: a new temporary file.")
@click.option(
    "--timeout", type=float, default=names.DEFAULT_START_TIMEOUT, help="Seconds that the models may take to load."
)
@click.option(
    "--shutdown-timeout", type=float, default=names.DEFAULT_SHUTDOWN_TIMEOUT,
    help="Seconds that open requests have to end when the server is stopped.",
)  # fmt: skip
@click.option(
    "--patience", type=float, default=names.DEFAULT_PATIENCE,
    help="Seconds without an answer from a model after which the server is started again.",
)  # fmt: skip
@click.option("--print", "print_only", is_flag=True, help="Print the commands that serve from a container, and stop.")
@json_option
def command(
    repo_dir: Path,
    *,
    host: str,
    http_port: int,
    grpc_port: int,
    metrics_port: int,
    openai_port: int | None,
    api_key_file: Path | None,
    print_only: bool,
    patience: float,
    **options: Any,
) -> None:
    """Start Triton Inference Server on a model repository and stay with it.

    The server is the tritonserver on PATH, else the one that the package nvidia-pytriton carries. Ctrl-C,
    SIGTERM or SIGHUP stops it: open requests have some seconds to end. A server whose model dies or hangs is
    started again.

    \b
    Examples:
      nld-trt serve repository
      nld-trt serve repository --openai-port 9000
      nld-trt serve repository --http-port 0 --grpc-port 0 --metrics-port 0 --log-file server.log
      nld-trt serve repository --print
    """
    from nld_trt.serving.openai.auth import Keys
    from nld_trt.serving.triton.ports import Ports
    from nld_trt.serving.triton.repository import model_names
    from nld_trt.serving.triton.running import running
    from nld_trt.serving.triton.server import TritonServer
    from nld_trt.serving.triton.watchdog import Watchdog

    models = model_names(repo_dir)
    _check_above_0(timeout=options["timeout"], patience=patience, shutdown_timeout=options["shutdown_timeout"])
    ports = Ports(http_port, grpc_port, metrics_port)
    if print_only:
        _print_commands(repo_dir, host, ports, with_front=openai_port is not None)
        return
    server = TritonServer(repo_dir, host=host, ports=ports, **options)
    keys = Keys.read(api_key_file)
    listener = listen(host, openai_port, keys)
    with running(server, output), front_beside(server, models, listener, keys):
        _show(server, models, listener)
        if listener is not None:
            advise(listener, models[0], keys)
        output.note("Ctrl-C stops the server")
        Watchdog(server, models, patience=patience, progress=output).watch()


def _check_above_0(**seconds: float) -> None:
    for name, value in seconds.items():
        if not value > 0:  # NaN fails this as well
            raise InputError(f"--{name.replace('_', '-')} is {value:g}; it must be above 0")


def _print_commands(repo_dir: Path, host: str, ports: Ports, *, with_front: bool) -> None:
    """Print the commands that serve from a container.

    Raises:
        InputError: the front was asked for as well.
    """
    from nld_trt.serving.triton.container import container_commands
    from nld_trt.serving.triton.repository import backends_of

    if with_front:
        raise InputError("--print prints commands for Triton; the front is a command of its own: nld-trt front")
    lines = container_commands(repo_dir.resolve(), backends=backends_of(repo_dir), host=host, ports=astuple(ports))
    output.result({"commands": lines}, "\n".join(lines))


def _show(server: TritonServer, models: Sequence[str], listener: Listener | None) -> None:
    """Print where the server answers, and how to try it."""
    from nld_trt.serving.triton.readme import client_line, curl_line

    output.result(
        {
            "models": models,
            "http": server.http_url,
            "grpc": server.grpc_url,
            "metrics": server.metrics_url,
            **({} if listener is None else {"openai": listener.url}),
            "log": str(server.log_file),
            "pid": server.pid,
        },
        f"serving {', '.join(models)}\n"
        f"  HTTP     {server.http_url}\n  gRPC     {server.grpc_url}\n  metrics  {server.metrics_url}\n"
        f"{'' if listener is None else f'  OpenAI   {listener.url}/v1{chr(10)}'}"
        f"  log      {server.log_file}",
    )
    for model in models:
        output.note(f"try: {curl_line(model, server.http_url)}\nor:  {client_line(model, server.grpc_url)}")

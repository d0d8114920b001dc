# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt serve``: a Triton server on a model repository, until it is stopped."""

from __future__ import annotations

from pathlib import Path

import click

from nld_trt.cli._output import json_option, output
from nld_trt.errors import InputError


@click.command("serve")
@click.argument("repo_dir", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0 for every network.")
@click.option("--http-port", type=int, default=8000, help="Port for HTTP; 0 for any free one.")
@click.option("--grpc-port", type=int, default=8001, help="Port for gRPC; 0 for any free one.")
@click.option("--metrics-port", type=int, default=8002, help="Port for Prometheus metrics; 0 for any free one.")
@click.option("--log-file", type=click.Path(path_type=Path), help="Log of the server. Default: a new temporary file.")
@click.option("--timeout", type=float, default=600.0, help="Seconds that the models may take to load.")
@click.option("--print", "print_only", is_flag=True, help="Print the commands that serve from a container, and stop.")
@json_option
def command(
    repo_dir: Path,
    host: str,
    http_port: int,
    grpc_port: int,
    metrics_port: int,
    log_file: Path | None,
    timeout: float,
    print_only: bool,
) -> None:
    """Start Triton Inference Server on a model repository and stay with it.

    The server is the tritonserver on PATH, else the one that the package nvidia-pytriton carries. Ctrl-C,
    SIGTERM or SIGHUP stops it: open requests have ten seconds to end.

    \b
    Examples:
      nld-trt serve repository
      nld-trt serve repository --http-port 0 --grpc-port 0 --metrics-port 0 --log-file server.log
      nld-trt serve repository --print
    """
    from nld_trt.serving.container import container_commands
    from nld_trt.serving.readme import client_line, curl_line
    from nld_trt.serving.repository import model_names
    from nld_trt.serving.tritonserver import Ports, TritonServer

    models = model_names(repo_dir)
    if not timeout > 0:  # NaN neither
        raise InputError(f"--timeout is {timeout:g}; it must be above 0")
    if print_only:
        lines = container_commands(repo_dir.resolve(), host=host, ports=(http_port, grpc_port, metrics_port))
        output.result({"commands": lines}, "\n".join(lines))
        return
    server = TritonServer(
        repo_dir, host=host, ports=Ports(http_port, grpc_port, metrics_port), log_file=log_file, timeout=timeout
    )
    ready = False
    try:
        try:
            with output.stage("starting tritonserver"):
                server.start()
            ready = True
            output.result(
                {
                    "models": models,
                    "http": server.http_url,
                    "grpc": server.grpc_url,
                    "metrics": server.metrics_url,
                    "log": str(server.log_file),
                    "pid": server.pid,
                },
                f"serving {', '.join(models)}\n"
                f"  HTTP     {server.http_url}\n  gRPC     {server.grpc_url}\n  metrics  {server.metrics_url}\n"
                f"  log      {server.log_file}",
            )
            for model in models:
                output.note(f"try: {curl_line(model, server.http_url)}\nor:  {client_line(model, server.grpc_url)}")
            output.note("Ctrl-C stops the server")
            server.wait()
        finally:
            with output.stage("stopping tritonserver"):
                server.stop()
    except KeyboardInterrupt:
        # To be stopped is how serving ends well; before that, it is an interruption like any other.
        if not ready:
            raise

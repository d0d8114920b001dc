# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A Triton server from its start to its stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nld_trt.progress import SILENT, Progress
from nld_trt.serving.triton.server import TritonServer


@contextmanager
def running(server: TritonServer, progress: Progress = SILENT) -> Iterator[TritonServer]:
    """Start ``server``, and stop it when the context ends, however that happens.

    To be stopped is how serving ends well: once the server is ready, KeyboardInterrupt (SIGINT, SIGTERM or SIGHUP)
    ends the context without an error. Before that it is an interruption like any other and is raised.

    Raises:
        InputError, OperationError: the server cannot be started; see :meth:`TritonServer.start`.
    """
    ready = False
    try:
        try:
            with progress.stage("starting tritonserver"):
                server.start()
            ready = True
            yield server
        finally:
            with progress.stage("stopping tritonserver"):
                server.stop()
    except KeyboardInterrupt:
        if not ready:
            raise

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The names and commands of the container, for ``serve --print``, the READMEs and a test of ``deploy/``."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from nld_trt import names
from nld_trt.engine.backend import BACKENDS
from nld_trt.errors import InputError
from nld_trt.machine.doctor import Package

# An image of Triton with its Python backend, to which deploy/Dockerfile adds nld-trt.
BASE_IMAGE = "nvcr.io/nvidia/tritonserver:25.12-py3"
IMAGE = "nld-trt-server:25.12"
DOCKERFILE = "deploy/Dockerfile"
MOUNT = "/models"
SHARED_MEMORY = "256m"
USER = "1000:1000"
# The extras that the Dockerfile installs unless it is told others.
DEFAULT_EXTRAS = frozenset({"rtx"})
# The ports inside the container. Outside, they are published on the loopback address.
PORTS = {"http": names.HTTP_PORT, "grpc": names.GRPC_PORT, "metrics": names.METRICS_PORT}


def container_commands(
    repository: Path,
    *,
    backends: Iterable[str] = (),
    host: str = names.DEFAULT_HOST,
    ports: tuple[int, int, int] = (names.HTTP_PORT, names.GRPC_PORT, names.METRICS_PORT),
) -> list[str]:
    """Make the commands that build the image in a checkout of nld-trt and serve ``repository``, an absolute path.

    Args:
        backends: those of its engines. The image gets their libraries; it has that of ``trt-rtx`` anyway.

    Raises:
        InputError: docker does not accept the path.
    """
    if ":" in str(repository):
        raise InputError(
            f"docker's --volume cannot name {repository}: it has a colon, which ends a path there",
            fix="Copy or move the repository to a path without one.",
        )
    published = " ".join(
        f"--publish {host}:{outside}:{inside}" for outside, inside in zip(ports, PORTS.values(), strict=True)
    )
    return [
        f"docker build --file {DOCKERFILE}{_libraries(backends)} --tag {IMAGE} .",
        f"docker run --rm --gpus all --shm-size {SHARED_MEMORY} --user {USER} {published} "
        f"--volume {shlex.quote(f'{repository}:{MOUNT}:ro')} {IMAGE}",
    ]


def _libraries(backends: Iterable[str]) -> str:
    """The argument of ``docker build`` for the extras that the backends need to run; empty if the default has them."""
    needs = [need for name in backends for need in BACKENDS[name].run_needs]
    extras = {need.extra for need in needs if isinstance(need, Package) and need.extra}
    if extras <= DEFAULT_EXTRAS:
        return ""
    listed = ",".join(sorted(extras))
    return " --build-arg " + shlex.quote(f"EXTRAS=[{listed}]")

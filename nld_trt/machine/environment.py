# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The record of a machine that ``doctor`` prints and that is written beside measurements.

Nothing here raises: what cannot be found out is None or empty.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import nld_trt
from nld_trt.machine import host, installed
from nld_trt.machine.gpu import VISIBLE_DEVICES, Gpu, driver_version, present_gpus
from nld_trt.machine.threads import THREADS_VARIABLE

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Environment:
    """This machine, as one JSON object."""

    schema_version: int
    nld_trt: str
    python: str
    os: str
    machine: str
    cpu: str
    cpu_cores: int
    memory_bytes: int | None
    packages: Mapping[str, str]
    ort_providers: tuple[str, ...]
    gpu_driver: str | None
    gpus: tuple[Gpu, ...]
    cuda_visible_devices: str | None
    tritonserver: str | None
    docker: str | None
    # The value of NLD_TRT_THREADS, which limits the threads of every engine on the CPU.
    ort_threads: str | None = None


def collect() -> Environment:
    server = installed.tritonserver()
    return Environment(
        schema_version=SCHEMA_VERSION,
        nld_trt=nld_trt.__version__,
        python=platform.python_version(),
        os=host.os_name(),
        machine=platform.machine(),
        cpu=host.cpu_model(),
        cpu_cores=host.cpu_cores(),
        memory_bytes=host.memory_bytes(),
        packages=installed.package_versions(),
        ort_providers=installed.ort_providers(),
        gpu_driver=driver_version(),
        gpus=tuple(present_gpus(clocks=True)),
        cuda_visible_devices=os.environ.get(VISIBLE_DEVICES),
        tritonserver=None if server is None else str(server),
        docker=shutil.which("docker"),
        ort_threads=os.environ.get(THREADS_VARIABLE),
    )


def facts() -> dict[str, Any]:
    """``collect`` as plain data."""
    return asdict(collect())


def device_of(facts: Mapping[str, Any], *, gpu: bool) -> tuple[str, int]:
    """The name of what an engine computes on, and the number of its GPUs: 1, or 0 for the CPU.

    Engines use the first GPU that the process sees.
    """
    if not gpu:
        threads = facts.get("ort_threads")
        limited = f", {THREADS_VARIABLE}={threads}" if threads else ""
        return f"{facts['cpu']} ({facts['cpu_cores']} cores{limited})", 0
    return next((gpu["name"] for gpu in facts["gpus"]), "unknown GPU"), 1

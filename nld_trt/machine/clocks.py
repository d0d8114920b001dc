# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The clocks and the load of this machine at the moment of asking, which belong beside every measured time."""

from __future__ import annotations

import subprocess
from dataclasses import asdict
from typing import Any

from nld_trt.machine import host
from nld_trt.machine.gpu import present_gpus


def clocks(*, gpu: bool) -> dict[str, Any]:
    """The clocks of the CPU and, with ``gpu``, of the GPUs. What cannot be found out is None or empty.

    Returns:
        ``load_average``: the load average of the last minute.
        ``cpu_mhz``: the clock of every core, as the kernel reports it.
        ``gpus``: a list of :class:`nld_trt.machine.gpu.Gpu` as plain data; empty without ``gpu``.
    """
    gpus = [asdict(found) for found in present_gpus(clocks=True)] if gpu else []
    return {"load_average": host.load_average(), "cpu_mhz": host.cpu_clocks_mhz(), "gpus": gpus}


def under_load(uuid: str) -> str:
    """The name, driver, clocks and power of one GPU at this moment, as nvidia-smi prints them.

    Args:
        uuid: as nvidia-smi writes it.
    """
    fields = "name,driver_version,clocks.sm,clocks.mem,power.draw"
    query = ["nvidia-smi", f"--id={uuid}", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, check=True, encoding="utf-8").stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"unknown: {error}"

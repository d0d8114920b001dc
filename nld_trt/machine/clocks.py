# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""How fast this machine runs, and how busy it is, at the moment of asking: times mean little without."""

from __future__ import annotations

import subprocess
from dataclasses import asdict
from typing import Any

from nld_trt.machine import host
from nld_trt.machine.gpu import present_gpus


def clocks(*, gpu: bool) -> dict[str, Any]:
    """Clocks of the CPU and, with ``gpu``, of the GPUs. What cannot be found out is None or empty.

    Returns:
        ``load_average``: of the last minute: processes that run or want to.
        ``cpu_mhz``: of every core, as the kernel has it; a virtual machine often shows a fixed one.
        ``gpus``: name, clock and limits of each, with ``gpu``.
    """
    gpus = [asdict(found) for found in present_gpus(clocks=True)] if gpu else []
    return {"load_average": host.load_average(), "cpu_mhz": host.cpu_clocks_mhz(), "gpus": gpus}


def under_load(uuid: str) -> str:
    """Name, driver, clocks and power of one GPU at this moment, in the words of nvidia-smi.

    Args:
        uuid: as nvidia-smi writes it.
    """
    fields = "name,driver_version,clocks.sm,clocks.mem,power.draw"
    query = ["nvidia-smi", f"--id={uuid}", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, check=True, encoding="utf-8").stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"unknown: {error}"

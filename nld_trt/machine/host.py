# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The operating system, CPU and memory of this machine. Nothing here raises: what cannot be found out is None."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path


def os_name() -> str:
    """The distribution and the kernel, as far as the system names them."""
    kernel = f"{platform.system()} {platform.release()}"
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {kernel}"
    except (OSError, KeyError):
        return kernel


def cpu_model() -> str:
    for text in (_read("/proc/cpuinfo"), _run("lscpu")):  # /proc/cpuinfo has no name on ARM
        found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE | re.IGNORECASE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine() or "unknown CPU"


def cpu_cores() -> int:
    """Cores this process may use, which a container or taskset can limit."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # only Linux knows
        return os.cpu_count() or 1


def cpu_clocks_mhz() -> list[float]:
    """The clock of every core, as the kernel reports it; many virtual machines report a fixed one."""
    return [float(rate) for rate in re.findall(r"^cpu MHz\s*:\s*([0-9.]+)$", _read("/proc/cpuinfo"), re.MULTILINE)]


def load_average() -> float | None:
    """The average number of processes that ran or waited to run, over the last minute."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):  # only Unix has a load
        return None


def memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def peak_resident_bytes() -> int | None:
    """The most memory this process has had resident; None where the system does not say (Linux does)."""
    for line in _read("/proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _run(command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""

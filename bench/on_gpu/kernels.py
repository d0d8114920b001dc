# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Part 2: the decode kernels by themselves, with ``bench/kernels.py`` and under compute-sanitizer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

from on_gpu.settings import ROOT, Settings

_TOOLS = ("memcheck", "racecheck", "initcheck")


def run(settings: Settings) -> dict[str, Any]:
    settings.need_gpu()
    target = settings.scratch / "kernels.json"
    done = subprocess.run(
        [sys.executable, "bench/kernels.py", "-o", str(target)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if not target.exists():
        raise RuntimeError(f"bench/kernels.py failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = {"report": json.loads(target.read_text(encoding="utf-8")), "passed": done.returncode == 0}
    found["sanitizer"] = {tool: _sanitized(tool) for tool in (_TOOLS[:1] if settings.quick else _TOOLS)}
    return found


def _sanitized(tool: str) -> str:
    """The last line that compute-sanitizer prints: its count of errors."""
    program = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if program is None:
        return "compute-sanitizer is not installed"
    check = [sys.executable, "-m", "nld_trt", "bench", "kernels", "--check-only"]
    done = subprocess.run(
        [program, "--tool", tool, *check], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False
    )
    lines = [line for line in done.stdout.splitlines() if "SUMMARY" in line]
    return lines[-1].strip("= ") if lines else f"no summary, exit status {done.returncode}: {done.stderr[-500:]}"

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that a GPU must show about the PyTorch engine, in one run: that it is right, and how fast it is.

    PYTHONPATH=. python bench/gpu.py -o bench/results/gpu.json            # on a machine with an NVIDIA GPU
    PYTHONPATH=. python bench/gpu.py -o gpu.json --cpu --quick            # parts 1, 5 and 6 as the CPU runs them

PyTorch with CUDA and the packages of nld-trt's base install are required; part 4 also needs transformers. The result is
one JSON file. It is written after every part, and a part that is in it is not run again: after an interruption the
same command goes on. A part that this machine cannot run says what it lacks.

The modules in ``bench/on_gpu`` say what each part does and what is inside its timed regions.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from on_gpu.settings import Lacks, Settings

import nld_trt
from nld_trt.machine import environment
from nld_trt.machine.clocks import clocks

PARTS: Mapping[str, str] = {
    "1": "exactness",
    "2": "kernels",
    "3": "shapes",
    "4": "peers",
    "5": "tiny",
    "6": "load",
    "7": "breakdown",
}


def machine(on_gpu: bool) -> dict[str, Any]:
    """The device, its clocks, and the versions of what runs on it."""
    facts = environment.facts()
    device, _ = environment.device_of(facts, gpu=on_gpu)
    return {
        "device": device,
        "clocks": clocks(gpu=on_gpu),
        "nld_trt": nld_trt.__version__,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "facts": facts,
    }


def run_part(name: str, settings: Settings) -> dict[str, Any]:
    """The result of a part with its duration, what the machine lacks for it, or where it failed."""
    started = time.perf_counter()
    try:
        found = importlib.import_module(f"on_gpu.{name}").run(settings)
    except Lacks as error:
        return {"lacks": str(error)}
    except Exception:
        # Time on a GPU can be short: the parts after this one run all the same.
        return {"failed": traceback.format_exc()}
    return {**found, "seconds": round(time.perf_counter() - started, 1), "quick": settings.quick}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="the JSON file; parts that it has are kept")
    parser.add_argument("--parts", default=",".join(PARTS), help="numbers of the parts, as in 1,3")
    parser.add_argument(
        "--cpu", action="store_true", help="run what has a form for CPUs, as a machine without GPU does"
    )
    parser.add_argument("--quick", action="store_true", help="fewer cases and repeats, to see that the parts work")
    asked = parser.parse_args()
    chosen = asked.parts.split(",")
    if not set(chosen) <= PARTS.keys():
        parser.error(f"--parts is {asked.parts}; the parts are {', '.join(PARTS)}")
    on_gpu = torch.cuda.is_available() and not asked.cpu
    found: dict[str, Any] = {"parts": {}}
    if asked.output.exists():
        found = json.loads(asked.output.read_text(encoding="utf-8"))
    found |= {"command": shlex.join(sys.argv), "machine": machine(on_gpu)}
    with tempfile.TemporaryDirectory(prefix="nld-trt-gpu-") as scratch:
        settings = Settings(on_gpu, asked.quick, Path(scratch))
        for number in chosen:
            name = PARTS[number]
            if "seconds" in found["parts"].get(name, {}):
                print(f"{number} {name}: kept from {asked.output}", flush=True)
                continue
            print(f"{number} {name}: running", flush=True)
            found["parts"][name] = run_part(name, settings)
            asked.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(f"{number} {name}: {summary(found['parts'][name])}", flush=True)
    return int(any(part.get("passed") is False or "failed" in part for part in found["parts"].values()))


def summary(part: Mapping[str, Any]) -> str:
    """What a part found, on one line."""
    if "lacks" in part:
        return f"not run, this machine lacks {part['lacks']}"
    if "failed" in part:
        return f"FAILED\n{part['failed']}"
    missed = [name for name, aim in part.get("targets", {}).items() if not aim["met"]]
    verdict = {None: "done", True: "passed", False: "FAILED"}[part.get("passed")]
    targets = f"; targets missed: {', '.join(missed)}" if missed else ""
    return f"{verdict} in {part['seconds']} s{targets}"


if __name__ == "__main__":
    sys.exit(main())

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Part 5: nld-tiny through ``nld-trt evaluate``, and a sweep over concurrency in every mode, offline."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from typing import Any

from nld_trt import names
from on_gpu.engines import golden_engine
from on_gpu.settings import ROOT, Settings

_PROMPTS = "examples/nld-tiny/eval.jsonl"


def run(settings: Settings) -> dict[str, Any]:
    precision = names.BF16 if settings.on_gpu else names.FP32
    engine = golden_engine("nld-tiny", precision, settings)
    evaluation = settings.scratch / "evaluation.json"
    limit = ["--limit", "20"] if settings.quick else []
    _nld_trt(
        "evaluate", str(engine.path), "--backend", names.TORCH, "--prompts", _PROMPTS, *limit, "-o", str(evaluation)
    )
    sweep = settings.scratch / "sweep"
    levels = "1,4" if settings.quick else "1,2,4,8,16,32,64"
    requests = ["--requests", "8", "--repeats", "1"] if settings.quick else []
    _nld_trt(
        "sweep", str(engine.path), "--prompts", _PROMPTS, "--concurrency", levels, "--modes", ",".join(names.NLD_MODES),
        *requests, "-o", str(sweep),
    )  # fmt: skip
    with (sweep / "summary.csv").open(encoding="utf-8") as rows:
        return {
            "precision": precision,
            "evaluation": json.loads(evaluation.read_text(encoding="utf-8")),
            "sweep": list(csv.DictReader(rows)),
        }


def _nld_trt(*arguments: str) -> None:
    """Raises RuntimeError with what the command printed, if it failed."""
    done = subprocess.run(
        [sys.executable, "-m", "nld_trt", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"nld-trt {' '.join(arguments)} failed:\n{done.stderr[-3000:]}")

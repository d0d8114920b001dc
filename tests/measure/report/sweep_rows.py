# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of sweeps as a sweep writes them, with rates that a test chooses."""

from __future__ import annotations

import json
from pathlib import Path

from nld_trt.measure.sweep.report import COLUMNS, SCHEMA_VERSION
from nld_trt.measure.sweep.results import ENVIRONMENT, POINTS, SUMMARY_JSON

MACHINE = {"cpu": "a CPU", "memory_bytes": 2**34, "command": "nld-trt sweep engine <b>", "date": "2026-01-02"}
WORKLOAD = {"prompts_name": "prompts.jsonl", "prompts_sha256": "aa", "max_new_tokens": 64, "ignore_eos": False}


def row(mode="ar", users=1, rate=100.0, *, spread=0.02, block=None, gpus=1, device="NVIDIA GB200", **more):
    """A sweep's row: its repeats lie within ``spread`` of the rate, and its user sees his part of the rate."""
    values = {
        **dict.fromkeys(COLUMNS), "model": "nld-8b", "backend": "trt", "precision": "bf16", "device": device,
        "num_gpus": gpus, "mode": mode, "block_length": block, "concurrency": users, "repeats": 3,
        "output_tps": rate, "output_tps_min": rate * (1 - spread), "output_tps_max": rate * (1 + spread),
        "tps_per_user": rate / users, "tps_per_gpu": rate / gpus if gpus else None,
    }  # fmt: skip
    return {**values, **more}


# AR grows with the users, linear and auto are ahead of it up to 8 users: they cross between 8 and 16.
ROWS = [
    *(row("ar", users, rate) for users, rate in ((1, 100), (4, 380), (8, 700), (16, 1400))),
    *(
        row("linear", users, rate, block=32, acceptance_length=8.5, tokens_per_forward=4.2)
        for users, rate in ((1, 330), (4, 900), (8, 1000), (16, 1100))
    ),
    *(row("auto", users, rate) for users, rate in ((1, 320), (4, 880), (8, 1020), (16, 1380))),
]


def write_sweep(folder: Path, rows=ROWS, *, points=(), **summary) -> Path:
    """Write a folder of results with these rows, and return it.

    Args:
        points: label and content of files of points.
        summary: what else is in summary.json, in place of the usual.
    """
    (folder / POINTS).mkdir(parents=True)
    (folder / ENVIRONMENT).write_text(json.dumps(MACHINE), encoding="utf-8")
    content = {"schema_version": SCHEMA_VERSION, "workload": WORKLOAD, "rows": rows, "failed": {}, **summary}
    (folder / SUMMARY_JSON).write_text(json.dumps(content), encoding="utf-8")
    for label, point in points:
        (folder / POINTS / f"{label}.json").write_text(json.dumps(point), encoding="utf-8")
    return folder

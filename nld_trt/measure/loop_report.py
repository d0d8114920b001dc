# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The report of ``nld-trt bench loop``: the times of an engine's forwards and rounds, and where they were measured."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Any

import nld_trt
from nld_trt.decode.engine import Engine
from nld_trt.machine import environment
from nld_trt.machine.clocks import clocks
from nld_trt.measure import loop_times
from nld_trt.measure.loop_times import LoopTimes
from nld_trt.progress import SILENT, Progress


@dataclass(frozen=True)
class LoopReport:
    """Times, and the model, machine, versions and clocks that they are of.

    Attributes:
        origin: all but the times, as plain data.
    """

    origin: dict[str, Any]
    times: LoopTimes

    def to_dict(self) -> dict[str, Any]:
        return {**self.origin, **self.times.to_dict()}


def report_loop(
    engine: Engine,
    *,
    rows: int,
    context: int,
    block_length: int | None,
    repeats: int,
    progress: Progress = SILENT,
) -> LoopReport:
    """Time the forwards and the decode loop of an engine.

    Args:
        rows: rows decoded together.
        context: cached tokens per row.
        block_length: tokens per block; None means the checkpoint's.
        repeats: timed repetitions of each forward, of which the medians count.

    Raises:
        InputError: the engine was built for less.
    """
    info, manifest = engine.info, engine.folder.manifest
    on_gpu = engine.session.device == "gpu"
    facts = environment.facts()
    device, _ = environment.device_of(facts, gpu=on_gpu)
    before = clocks(gpu=on_gpu)
    with progress.stage("timing"):
        times = loop_times.measure_loop(
            engine.session,
            rows=rows,
            context=context,
            block_length=info.default_block_length if block_length is None else block_length,
            repeats=repeats,
        )
    origin = {
        "model": manifest.model["name"],
        "backend": info.backend,
        "precision": info.precision,
        "device": device,
        "cpu": facts["cpu"],
        "cpu_cores": facts["cpu_cores"],
        "versions": {
            "nld-trt": nld_trt.__version__,
            "python": platform.python_version(),
            **manifest.backends[info.backend].tools,
        },
        "clocks_before": before,
        "clocks_after": clocks(gpu=on_gpu),
    }
    return LoopReport(origin, times)

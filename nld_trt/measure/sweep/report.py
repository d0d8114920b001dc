# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The rows of a sweep: one flat record per point, the same in CSV, JSON and on the terminal."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import nld_trt
from nld_trt.decode.totals import Totals
from nld_trt.engine.session import EngineInfo
from nld_trt.measure.sweep.closed_loop import Run, percentiles
from nld_trt.measure.sweep.point import Point, Workload

SCHEMA_VERSION = 1

_TIMES = ("ttft_ms", "itl_ms", "request_latency_ms")
_STATISTICS = ("avg", "p50", "p90", "p99")

COLUMNS: tuple[str, ...] = (
    "model", "model_sha256", "backend", "precision", "device", "num_gpus",
    "mode", "block_length", "threshold", "concurrency",
    "requests_ok", "repeats", "output_tokens", "duration_s",
    *(f"{name}_{statistic}" for name in _TIMES for statistic in _STATISTICS),
    "output_tps", "output_tps_min", "output_tps_max", "tps_per_user", "tps_per_gpu", "request_throughput",
    "tokens_per_forward", "acceptance_length", "denoising_steps_per_block", "host_share", "version",
)  # fmt: skip


def row(
    point: Point,
    workload: Workload,
    runs: Sequence[Run],
    info: EngineInfo,
    model: Mapping[str, Any],
    device: str,
    gpus: int,
) -> dict[str, Any]:
    """Return the record of a point: rates are medians over the repeats; latencies pool the requests of all repeats."""
    timings = [timing for run in runs for timing in run.timings]
    results = [result for run in runs for result in run.results]
    rates = [run.tokens / run.seconds for run in runs]
    itls = [itl for timing in timings if (itl := timing.itl) is not None]
    pooled = {
        "ttft_ms": [timing.ttft * 1e3 for timing in timings],
        "itl_ms": [itl * 1e3 for itl in itls],
        "request_latency_ms": [timing.latency * 1e3 for timing in timings],
    }
    totals = Totals.of(results)
    output_tps = statistics.median(rates)
    values: dict[str, Any] = {
        "model": model["name"],
        "model_sha256": model["sha256"],
        "backend": info.backend,
        "precision": info.precision,
        "device": device,
        "num_gpus": gpus,
        "mode": point.variant,
        "block_length": point.block_length,
        "threshold": point.threshold,
        "concurrency": point.concurrency,
        "requests_ok": len(results),
        "repeats": workload.repeats,
        "output_tokens": totals.tokens,
        "duration_s": sum(run.seconds for run in runs),
        **{
            f"{name}_{statistic}": value
            for name, samples in pooled.items()
            for statistic, value in percentiles(samples).items()
        },
        "output_tps": output_tps,
        "output_tps_min": min(rates),
        "output_tps_max": max(rates),
        "tps_per_user": 1 / statistics.fmean(itls) if itls else None,
        "tps_per_gpu": output_tps / gpus if gpus else None,
        "request_throughput": len(results) / sum(run.seconds for run in runs),
        "tokens_per_forward": totals.tokens_per_forward,
        "acceptance_length": totals.acceptance_length,
        "denoising_steps_per_block": totals.denoise_passes_per_block,
        "host_share": 1 - sum(run.engine_seconds for run in runs) / sum(run.seconds for run in runs),
        "version": nld_trt.__version__,
    }
    assert tuple(values) == COLUMNS
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}


def terminal_table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return column titles and cells for the terminal; the best throughput is marked."""
    best = max((row["output_tps"] for row in rows), default=None)

    def cell(value: Any, digits: int = 2) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    titles = ["mode", "block", "concurrency", "tokens/s", "tokens/s/user", "TTFT p50 ms", "ITL p50 ms",
              "tokens per forward", "acceptance length"]  # fmt: skip
    cells = [
        [
            row["mode"],
            "-" if row["block_length"] is None else str(row["block_length"]),
            str(row["concurrency"]),
            cell(row["output_tps"], 0) + (" *" if row["output_tps"] == best else ""),
            cell(row["tps_per_user"], 0),
            cell(row["ttft_ms_p50"]),
            cell(row["itl_ms_p50"]),
            cell(row["tokens_per_forward"]),
            cell(row["acceptance_length"]),
        ]
        for row in rows
    ]
    return titles, cells

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The rows of a sweep: one flat record per point, the same in CSV, JSON and on the terminal."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import nld_trt
from nld_trt.decode.figures import (
    ACCEPTANCE_LENGTH,
    DENOISE_PASSES_PER_BLOCK,
    HOST_SHARE,
    ITL,
    LATENCIES,
    TOKENS_PER_FORWARD,
    TOKENS_PER_SECOND,
    TTFT,
    Counts,
)
from nld_trt.engine.session import EngineInfo
from nld_trt.measure.sweep.load import Run, percentiles
from nld_trt.measure.sweep.point import Point, Workload

SCHEMA_VERSION = 2

_STATISTICS = ("avg", "p50", "p90", "p99")

COLUMNS: tuple[str, ...] = (
    "model", "model_sha256", "family", "backend", "precision", "device", "num_gpus",
    "mode", "block_length", "threshold", "concurrency", "request_rate", "workload", "scripted_acceptance",
    "requests_ok", "requests_failed", "repeats", "output_tokens", "duration_s",
    *(f"{name}_{statistic}" for name in (latency.name for latency in LATENCIES) for statistic in _STATISTICS),
    "output_tps", "output_tps_min", "output_tps_max", "tps_per_user", "tps_per_gpu", "request_throughput",
    "tokens_per_forward", "acceptance_length", "denoising_steps_per_block", "host_share",
    "joules_per_token", "version",
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
    """Return the record of a point: rates are medians over the repeats; latencies pool the requests of all repeats.

    Args:
        model: its name, its hash and, if it is quantized, the algorithm.
    """
    timings = [timing for run in runs for timing in run.timings]
    rates = [TOKENS_PER_SECOND.formula(run.counts) or 0.0 for run in runs]
    itls = [itl for timing in timings if (itl := timing.itl) is not None]
    counts = Counts.total(run.counts for run in runs)
    requests = sum(len(run.results) for run in runs)
    output_tps = statistics.median(rates)
    values: dict[str, Any] = {
        "model": model["name"],
        "model_sha256": model["sha256"],
        "family": info.config.family.name,
        "backend": info.backend,
        # In words: how weights are stored, if not as they are computed with, and what is computed in.
        "precision": " ".join(filter(None, (model.get("algorithm"), info.precision))),
        "device": device,
        "num_gpus": gpus,
        "mode": point.variant,
        "block_length": point.block_length,
        "threshold": point.threshold,
        "concurrency": point.concurrency,
        "request_rate": point.request_rate,
        "workload": workload.title,
        "scripted_acceptance": workload.scripted,
        "requests_ok": requests,
        "requests_failed": 0,  # one would have ended the sweep
        "repeats": workload.repeats,
        "output_tokens": counts.tokens,
        "duration_s": counts.seconds,
        **{
            f"{latency.name}_{statistic}": value
            for latency in LATENCIES
            for statistic, value in percentiles(latency.of(timings)).items()
        },
        "output_tps": output_tps,
        "output_tps_min": min(rates),
        "output_tps_max": max(rates),
        "tps_per_user": 1 / statistics.fmean(itls) if itls else None,
        "tps_per_gpu": output_tps / gpus if gpus else None,
        "request_throughput": requests / counts.seconds,
        "tokens_per_forward": TOKENS_PER_FORWARD.formula(counts),
        "acceptance_length": ACCEPTANCE_LENGTH.formula(counts),
        "denoising_steps_per_block": DENOISE_PASSES_PER_BLOCK.formula(counts),
        "host_share": HOST_SHARE.formula(counts),
        "joules_per_token": _joules_per_token(runs, counts.tokens),
        "version": nld_trt.__version__,
    }
    assert tuple(values) == COLUMNS
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}


def _joules_per_token(runs: Sequence[Run], tokens: int) -> float | None:
    """Energy of the GPU in all repeats over their tokens; None where a repeat has none."""
    joules = [run.joules for run in runs if run.joules is not None]
    return sum(joules) / tokens if tokens and len(joules) == len(runs) else None


def series(row: Mapping[str, Any]) -> str:
    """Return the name of the points that differ from this one in concurrency only.

    A row of an earlier version has neither a rate nor a scripted acceptance.
    """
    block = "" if row["block_length"] is None else f", block {row['block_length']}"
    rate = "" if row.get("request_rate") is None else f", {row['request_rate']:g} requests/s"
    return f"{row['mode']}{block}{rate}{', scripted' if row.get('scripted_acceptance') else ''}"


def terminal_table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return column titles and cells for the terminal; the best throughput is marked."""
    best = max((row["output_tps"] for row in rows), default=None)

    def cell(milliseconds: float | None) -> str:
        return "-" if milliseconds is None else f"{milliseconds:.2f}"

    rate = TOKENS_PER_SECOND
    titles = [
        "mode", "block", "concurrency", rate.header, f"{rate.header}/user",
        *(f"{latency.header} p50 ms" for latency in (TTFT, ITL)),
        TOKENS_PER_FORWARD.header, ACCEPTANCE_LENGTH.header,
    ]  # fmt: skip
    cells = [
        [
            row["mode"] + (" (scripted)" if row.get("scripted_acceptance") else ""),
            "-" if row["block_length"] is None else str(row["block_length"]),
            str(row["concurrency"]) + (f" at {row['request_rate']:g}/s" if row.get("request_rate") else ""),
            rate.text(row["output_tps"]) + (" *" if row["output_tps"] == best else ""),
            rate.text(row["tps_per_user"]),
            *(cell(row[f"{latency.name}_p50"]) for latency in (TTFT, ITL)),
            *(figure.text(row[figure.name]) for figure in (TOKENS_PER_FORWARD, ACCEPTANCE_LENGTH)),
        ]
        for row in rows
    ]
    return titles, cells

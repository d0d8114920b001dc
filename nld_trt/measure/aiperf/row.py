# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The row of a point that AIPerf measured. What it cannot say stays empty."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import nld_trt
from nld_trt.decode.figures import ACCEPTANCE_LENGTH, ITL, REQUEST_LATENCY, TOKENS_PER_FORWARD, TTFT
from nld_trt.measure.aiperf.records import ServedRequest, ServedRun
from nld_trt.measure.sweep.load import percentiles
from nld_trt.measure.sweep.point import Point
from nld_trt.measure.sweep.report import COLUMNS


@dataclass(frozen=True)
class Drafts:
    """Sums over requests, of which a figure is a quotient.

    Attributes:
        nfe: None if a request does not have it.
        accepted, drafts: of the requests that drafted; None if none did.
    """

    requests: int
    tokens: int
    nfe: int | None
    accepted: int | None
    drafts: int | None

    @classmethod
    def of(cls, requests: Iterable[ServedRequest]) -> Drafts:
        found = list(requests)
        forwards = [each.nfe for each in found if each.nfe is not None]
        drafted = [(each.accepted, each.drafts) for each in found if each.accepted is not None and each.drafts]
        return cls(
            len(found),
            sum(each.tokens for each in found),
            sum(forwards) if len(forwards) == len(found) else None,
            sum(accepted for accepted, _ in drafted) if drafted else None,
            sum(drafts for _, drafts in drafted) if drafted else None,
        )

    @property
    def tokens_per_forward(self) -> float | None:
        return self.tokens / self.nfe if self.nfe else None

    @property
    def acceptance_length(self) -> float | None:
        """Accepted tokens of a draft and the verifier's own, as AIPerf weights them.

        Tokens that were accepted behind an EOS or a limit count, which an engine's own figure leaves out.
        """
        return None if not self.drafts or self.accepted is None else 1 + self.accepted / self.drafts


def row(
    point: Point, runs: Sequence[ServedRun], model: str, gpus: int | None, *, workload: str | None = None
) -> dict[str, Any]:
    """Return the record of a point. Rates are medians over the runs; latencies pool the requests of all runs.

    Args:
        gpus: how many GPUs serve the model, if the user said.
        workload: its name, if it has one.
    """
    requests = [request for run in runs for request in run.requests]
    rates = [run.output_rate for run in runs]
    itls = [request.itl for request in requests if request.itl is not None]
    times = {
        TTFT: [request.ttft for request in requests],
        ITL: itls,
        REQUEST_LATENCY: [request.latency for request in requests],
    }
    sums = Drafts.of(requests)
    output_tps = statistics.median(rates)
    values: dict[str, Any] = {
        **dict.fromkeys(COLUMNS),
        "model": model,
        "num_gpus": gpus,
        "mode": point.variant,
        "block_length": point.block_length,
        "threshold": point.threshold,
        "concurrency": point.concurrency,
        "request_rate": point.request_rate,
        "workload": workload,
        "requests_ok": len(requests),
        "requests_failed": sum(run.failures.total() for run in runs),
        "repeats": len(runs),
        "output_tokens": sums.tokens,
        "duration_s": sum(run.seconds for run in runs),
        **{
            f"{latency.name}_{statistic}": value
            for latency, found in times.items()
            for statistic, value in percentiles(found).items()
        },
        "output_tps": output_tps,
        "output_tps_min": min(rates),
        "output_tps_max": max(rates),
        "tps_per_user": 1e3 / statistics.fmean(itls) if itls and any(itls) else None,
        "tps_per_gpu": output_tps / gpus if gpus else None,
        "request_throughput": statistics.median(run.request_rate for run in runs),
        TOKENS_PER_FORWARD.name: sums.tokens_per_forward,
        ACCEPTANCE_LENGTH.name: sums.acceptance_length,
        "version": nld_trt.__version__,
    }
    assert tuple(values) == COLUMNS
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}

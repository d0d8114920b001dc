# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The command line of one run of AIPerf."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nld_trt.measure.aiperf.dataset import SPEED_BENCH
from nld_trt.measure.sweep.point import Workload


@dataclass(frozen=True)
class Benchmark:
    """What all runs of a sweep have in common.

    Attributes:
        url: of the server, without a path.
        format: AIPerf's name for the form of ``prompts``.
        tokenizer: the folder of a tokenizer, which counts nothing: the server's counts are used.
    """

    url: str
    model: str
    workload: Workload
    prompts: Path
    format: str
    tokenizer: Path

    def arguments(
        self, concurrency: int, extra: Mapping[str, Any], artifacts: Path, *, rate: float | None = None
    ) -> list[str]:
        """Return the arguments of ``aiperf``.

        Args:
            extra: fields of every request.
            artifacts: the folder for AIPerf's files.
            rate: requests per second that arrive as a Poisson process; None for a closed loop.
        """
        workload = self.workload
        # AIPerf's requests of a conversation follow each other, and a sweep counts conversations.
        counted = "--num-conversations" if self.format == SPEED_BENCH else "--request-count"
        return [
            "profile",
            "--model", self.model,
            "--url", self.url,
            "--endpoint-type", "chat",
            "--streaming",
            # A block arrives as one chunk: without the server's counts its tokens would be taken for one.
            "--use-server-token-count", "--per-chunk-usage",
            "--tokenizer", str(self.tokenizer),
            "--extra-inputs", json.dumps({**self._fields, **extra}),
            "--input-file", str(self.prompts),
            "--custom-dataset-type", self.format,
            "--dataset-sampling-strategy", "sequential",
            "--concurrency", str(concurrency),
            *(() if rate is None else ("--request-rate", f"{rate:g}", "--arrival-pattern", "poisson")),
            counted, str(workload.requests_at(concurrency)),
            *(("--warmup-request-count", str(workload.warmup)) if workload.warmup else ()),
            # Whole answers, of which the number of forwards is read.
            "--export-level", "raw",
            "--no-gpu-telemetry", "--no-server-metrics",
            "--ui", "none",
            "--artifact-dir", str(artifacts),
        ]  # fmt: skip

    @property
    def _fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {"max_completion_tokens": self.workload.max_new_tokens, "temperature": 0}
        return {**fields, "ignore_eos": True} if self.workload.ignore_eos else fields

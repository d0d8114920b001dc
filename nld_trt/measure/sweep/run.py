# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A sweep of an engine: the requests of each point, decoded in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nld_trt.decode.batch import Batch
from nld_trt.decode.request import Request
from nld_trt.engine.session import EngineInfo
from nld_trt.errors import OperationError
from nld_trt.measure.questions import Question
from nld_trt.measure.sweep import report
from nld_trt.measure.sweep.load import Run, poisson_arrivals, run_closed_loop, run_open_loop
from nld_trt.measure.sweep.point import Point, Workload
from nld_trt.measure.sweep.results import Measured, Results
from nld_trt.measure.variant import Variant
from nld_trt.progress import SILENT, Progress


@dataclass(frozen=True)
class Sweep:
    """Everything that a sweep measures, and the folder of its results."""

    results: Results
    variants: Mapping[str, Variant]

    @property
    def workload(self) -> Workload:
        return self.results.workload

    def check(self, questions: Sequence[Question], info: EngineInfo) -> None:
        """Refuse what would fail at one of the points, before any file is written.

        Raises:
            InputError: a prompt or a setting that does not fit the engine.
        """
        for point in self.results.points:
            for question in questions[: self.workload.requests]:
                self._request(question, point).resolved(info)

    def run(
        self,
        batch: Batch,
        questions: Sequence[Question],
        model: Mapping[str, Any],
        device: str,
        gpus: int,
        *,
        resume: bool = True,
        progress: Progress = SILENT,
    ) -> Measured:
        """Measure every point that is not finished. A point that fails is told, and the sweep goes on."""

        def measure(point: Point) -> dict[str, Any]:
            return {"row": self._measure(batch, questions, point, model, device, gpus)}

        return self.results.run(measure, resume=resume, go_on=True, progress=progress)

    def _measure(
        self,
        batch: Batch,
        questions: Sequence[Question],
        point: Point,
        model: Mapping[str, Any],
        device: str,
        gpus: int,
    ) -> dict[str, Any]:
        count = self.workload.requests_at(point.concurrency)
        requests = [self._request(questions[index % len(questions)], point) for index in range(count)]
        try:
            if self.workload.warmup:
                run_closed_loop(batch, requests[: self.workload.warmup], point.concurrency)
            runs = [_run(batch, requests, point, repeat) for repeat in range(self.workload.repeats)]
        except OperationError as error:
            # Requests of a point that failed must not be decoded with the next one's.
            with suppress(OperationError):
                batch.reset()
            raise OperationError(f"a request of point {point.label} failed: {error}") from error
        return report.row(point, self.workload, runs, batch.session.info, model, device, gpus)

    def _request(self, question: Question, point: Point) -> Request:
        return self.variants[point.variant].request(
            question.prompt_ids,
            max_new_tokens=self.workload.max_new_tokens,
            block_length=point.block_length,
            threshold=point.threshold,
            stop_on_eos=not self.workload.ignore_eos,
        )


def _run(batch: Batch, requests: Sequence[Request], point: Point, repeat: int) -> Run:
    """Decode the requests of a point once. The arrivals of a repeat are the same in every point of its rate."""
    if point.request_rate is None:
        return run_closed_loop(batch, requests, point.concurrency)
    arrivals = poisson_arrivals(point.request_rate, len(requests), seed=repeat)
    return run_open_loop(batch, requests, point.concurrency, arrivals)

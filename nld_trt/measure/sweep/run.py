# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A sweep of an engine: the requests of each point, decoded in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nld_trt.decode.batch import Batch
from nld_trt.decode.request import Request
from nld_trt.engine.session import EngineInfo
from nld_trt.errors import OperationError
from nld_trt.measure.questions import Question
from nld_trt.measure.sweep import report
from nld_trt.measure.sweep.closed_loop import run_closed_loop
from nld_trt.measure.sweep.point import Point, Workload
from nld_trt.measure.sweep.results import Results
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
    ) -> list[dict[str, Any]]:
        """Measure every point that is not finished; return the rows of all points, in their order."""

        def measure(point: Point) -> dict[str, Any]:
            return {"row": self._measure(batch, questions, point, model, device, gpus)}

        return self.results.run(measure, resume=resume, progress=progress).rows

    def _measure(
        self,
        batch: Batch,
        questions: Sequence[Question],
        point: Point,
        model: Mapping[str, Any],
        device: str,
        gpus: int,
    ) -> dict[str, Any]:
        requests = [self._request(questions[index % len(questions)], point) for index in range(self.workload.requests)]
        try:
            if self.workload.warmup:
                run_closed_loop(batch, requests[: self.workload.warmup], point.concurrency)
            runs = [run_closed_loop(batch, requests, point.concurrency) for _ in range(self.workload.repeats)]
        except OperationError as error:
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

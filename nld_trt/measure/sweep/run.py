# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Running a sweep: every point is on disk as soon as it ends, and a finished point is not run again."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nld_trt.decode.batch import Batch
from nld_trt.decode.request import Request
from nld_trt.engine.session import EngineInfo
from nld_trt.errors import InputError, OperationError
from nld_trt.files import publish_file, read_json, refuse_other_results, results_folder, write_json
from nld_trt.measure.questions import Question
from nld_trt.measure.sweep import report
from nld_trt.measure.sweep.closed_loop import run_closed_loop
from nld_trt.measure.sweep.point import Point, Workload
from nld_trt.measure.variant import Variant
from nld_trt.progress import SILENT, Progress

SUMMARY_CSV, SUMMARY_JSON, ENVIRONMENT, POINTS = "summary.csv", "summary.json", "environment.json", "points"


def results_of(folder: Path) -> AbstractContextManager[Path]:
    """Be the only sweep into ``folder``, which is created; see :func:`nld_trt.files.results_folder`."""
    return results_folder(folder, marker=ENVIRONMENT, kind="sweep")


@dataclass(frozen=True)
class Sweep:
    """All that a sweep measures, and where its results go."""

    folder: Path
    workload: Workload
    points: Sequence[Point]
    variants: Mapping[str, Variant]
    engine_identity: str

    def path_of(self, point: Point) -> Path:
        return self.folder / POINTS / f"{point.label}.json"

    def finished(self, point: Point) -> dict[str, Any] | None:
        """The record of a point that was measured with exactly these settings, or None."""
        path = self.path_of(point)
        if not path.is_file():
            return None
        try:
            saved = read_json(path)
        except InputError:  # damaged: measured again
            return None
        return saved["row"] if saved.get("key") == point.key(self.workload, self.engine_identity) else None

    def check(self, questions: Sequence[Question], info: EngineInfo) -> None:
        """Refuse, before any file is written, what would fail at some point.

        Raises:
            InputError: a prompt or a setting that does not fit the engine.
        """
        for point in self.points:
            for question in questions[: self.workload.requests]:
                self._request(question, point).resolved(info)

    def prepare(self, environment: Mapping[str, Any]) -> None:
        """Create the folder.

        Raises:
            InputError: it holds something that is no sweep, or cannot be created.
        """
        refuse_other_results(self.folder, ENVIRONMENT, "sweep")
        try:
            (self.folder / POINTS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"Cannot create the folder {self.folder}: {error.strerror}", fix="Choose another output folder with -o."
            ) from error
        with publish_file(self.folder / ENVIRONMENT) as work:
            write_json(work, dict(environment))

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
        """Measure every point that is not finished; returns all rows in the order of the points."""
        rows = []
        for number, point in enumerate(self.points, start=1):
            row = self.finished(point) if resume else None
            if row is None:
                with progress.stage(f"point {number}/{len(self.points)}: {point.label}"):
                    row = self._measure(batch, questions, point, model, device, gpus)
                with publish_file(self.path_of(point)) as work:
                    write_json(work, {"key": point.key(self.workload, self.engine_identity), "row": row})
            rows.append(row)
            self._write_summary(rows)
        return rows

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

    def _write_summary(self, rows: Sequence[Mapping[str, Any]]) -> None:
        with publish_file(self.folder / SUMMARY_CSV) as work, work.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, report.COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        summary = {"schema_version": report.SCHEMA_VERSION, "workload": asdict(self.workload), "rows": list(rows)}
        with publish_file(self.folder / SUMMARY_JSON) as work:
            work.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")

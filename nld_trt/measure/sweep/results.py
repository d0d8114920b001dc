# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The results of a sweep: every point is written as soon as it ends, and a finished one is not measured again."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nld_trt.errors import InputError, OperationError
from nld_trt.files import publish_file, read_json, refuse_other_results, results_folder, write_json
from nld_trt.measure.sweep import report
from nld_trt.measure.sweep.point import Point, Workload
from nld_trt.progress import SILENT, Progress

SUMMARY_CSV, SUMMARY_JSON, ENVIRONMENT, POINTS = "summary.csv", "summary.json", "environment.json", "points"

# Measures one point: the content of its file, of which ``row`` is the point's row.
Measure = Callable[[Point], Mapping[str, Any]]


def results_of(folder: Path) -> AbstractContextManager[Path]:
    """Create ``folder`` and lock it against other sweeps; see :func:`nld_trt.files.results_folder`."""
    return results_folder(folder, marker=ENVIRONMENT, kind="sweep")


@dataclass(frozen=True)
class Measured:
    """What a sweep found.

    Attributes:
        points: the content of the file of each point that was measured, in the order of the points.
        failed: the reason for each point that failed, by the point's label.
    """

    points: list[Mapping[str, Any]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [point["row"] for point in self.points]


@dataclass(frozen=True)
class Results:
    """The folder of a sweep's results.

    Attributes:
        identity: whatever else the results depend on, such as the engine, in words.
    """

    folder: Path
    workload: Workload
    points: Sequence[Point]
    identity: str

    def path_of(self, point: Point) -> Path:
        return self.folder / POINTS / f"{point.label}.json"

    def finished(self, point: Point) -> dict[str, Any] | None:
        """Return the file of a point that was measured with exactly these settings, or None."""
        path = self.path_of(point)
        if not path.is_file():
            return None
        try:
            saved = read_json(path)
        except InputError:  # the file is damaged, so the point is measured again
            return None
        return saved if saved.get("key") == point.key(self.workload, self.identity) else None

    def labels(self) -> list[str]:
        """Return the labels of the points, each with a mark if it is finished."""
        return [point.label + ("" if self.finished(point) is None else " (finished)") for point in self.points]

    def prepare(self, environment: Mapping[str, Any]) -> None:
        """Create the folder.

        Raises:
            InputError: the folder holds something that is no sweep, or cannot be created.
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
        self, measure: Measure, *, resume: bool = True, go_on: bool = False, progress: Progress = SILENT
    ) -> Measured:
        """Measure every point that is not finished.

        Args:
            go_on: a point that fails is told and left out, in place of ending the sweep.

        Raises:
            OperationError: a point failed, without ``go_on``.
        """
        measured = Measured()
        for number, point in enumerate(self.points, start=1):
            found: Mapping[str, Any] | None = self.finished(point) if resume else None
            try:
                if found is None:
                    with progress.stage(f"point {number}/{len(self.points)}: {point.label}"):
                        found = {"key": point.key(self.workload, self.identity), **measure(point)}
                    with publish_file(self.path_of(point)) as work:
                        write_json(work, dict(found))
                measured.points.append(found)
            except OperationError as error:
                if not go_on:
                    raise
                progress.warn(f"point {point.label} failed: {error}")
                measured.failed[point.label] = str(error)
            self._write_summary(measured)
        return measured

    def _write_summary(self, measured: Measured) -> None:
        with publish_file(self.folder / SUMMARY_CSV) as work, work.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, report.COLUMNS)
            writer.writeheader()
            writer.writerows(measured.rows)
        summary = {
            "schema_version": report.SCHEMA_VERSION,
            "workload": asdict(self.workload),
            "rows": measured.rows,
            "failed": measured.failed,
        }
        with publish_file(self.folder / SUMMARY_JSON) as work:
            work.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")

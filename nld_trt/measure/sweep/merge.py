# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The results of several sweeps in one folder: every point once, of one version, and of one checkpoint per model."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nld_trt.errors import InputError
from nld_trt.files import publish_file, read_json, refuse_other_results, write_json
from nld_trt.measure.aiperf.categories import category_rows, write_categories
from nld_trt.measure.sweep.report import COLUMNS, SCHEMA_VERSION
from nld_trt.measure.sweep.results import ENVIRONMENT, POINTS, SUMMARY_CSV, SUMMARY_JSON

# What the rows of one model have to share, and what a difference means.
_VERSION: Final = "version"
_SAME: Final = {_VERSION: "of another version of nld-trt", "model_sha256": "of another engine's checkpoint"}


@dataclass(frozen=True)
class Part:
    """The results in one folder.

    Attributes:
        name: of the folder, which its points' files and failures begin with.
        points: the content of each point's file, by the point's label.
        failed: the reason for each point that failed, by its label.
    """

    name: str
    workloads: Sequence[Mapping[str, Any]]
    environment: Mapping[str, Any]
    points: Mapping[str, Mapping[str, Any]]
    failed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Part:
        """Read a folder that a sweep, or a merge, has written.

        Raises:
            InputError: it is none, no point has ended in it, or it is of another version.
        """
        for name in (ENVIRONMENT, SUMMARY_JSON):
            if not (folder / name).is_file():
                raise InputError(
                    f"{folder} holds no results of a sweep: it has no {name}",
                    fix="Leave it out, or run its sweep again: finished points are not measured a second time.",
                )
        summary = read_json(folder / SUMMARY_JSON)
        if summary.get("schema_version") != SCHEMA_VERSION:
            raise InputError(
                f"{folder} has results of schema version {summary.get('schema_version')!r}; this nld-trt reads "
                f"{SCHEMA_VERSION}"
            )
        files = {path.stem: read_json(path) for path in sorted((folder / POINTS).glob("*.json"))}
        rows = summary["rows"]
        # A file of other settings stays in the folder when the sweep's settings are changed.
        points = {label: found for row in rows for label, found in files.items() if found.get("row") == row}
        if len(points) != len(rows):
            raise InputError(f"{folder} has {len(rows)} rows, and the files of {len(points)} of them in {POINTS}")
        workloads = summary.get("workloads") or [summary["workload"]]
        return cls(
            folder.resolve().name, workloads, read_json(folder / ENVIRONMENT), points, summary.get("failed") or {}
        )


@dataclass(frozen=True)
class Merged:
    """Joined results.

    Attributes:
        points: content of each file, by its new label.
        same: how many points two folders had alike, of which one is kept.
    """

    points: Mapping[str, Mapping[str, Any]]
    failed: Mapping[str, str]
    workloads: Sequence[Mapping[str, Any]]
    environments: Mapping[str, Mapping[str, Any]]
    same: int

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [point["row"] for point in self.points.values()]

    def write(self, folder: Path) -> None:
        """Write the results into ``folder``, as a sweep writes its own.

        Raises:
            InputError: the folder holds something that is no sweep, or cannot be created.
        """
        refuse_other_results(folder, ENVIRONMENT, "sweep")
        (folder / POINTS).mkdir(parents=True, exist_ok=True)
        first = next(iter(self.environments.values()), {})
        with publish_file(folder / ENVIRONMENT) as work:
            write_json(work, {**first, "merged": dict(self.environments)})
        for label, point in self.points.items():
            with publish_file(folder / POINTS / f"{label}.json") as work:
                write_json(work, dict(point))
        with publish_file(folder / SUMMARY_CSV) as work, work.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
        summary = {
            "schema_version": SCHEMA_VERSION,
            "workload": self.workloads[0] if len(self.workloads) == 1 else None,
            "workloads": list(self.workloads),
            "rows": self.rows,
            "failed": dict(self.failed),
        }
        with publish_file(folder / SUMMARY_JSON) as work:
            work.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        categories = category_rows(self.points.values())
        if categories:
            write_categories(categories, folder)


def read_parts(folders: Sequence[Path]) -> list[Part]:
    """Read the results in folders of any names; of two with one name the second is numbered."""
    parts: list[Part] = []
    for folder in folders:
        part = Part.read(folder)
        taken = {each.name for each in parts}
        number, name = 1, part.name
        while name in taken:
            number += 1
            name = f"{part.name}-{number}"
        parts.append(Part(name, part.workloads, part.environment, part.points, part.failed))
    return parts


def merge(parts: Sequence[Part], *, one_checkpoint: bool = True, prefixed: bool | None = None) -> Merged:
    """Join results. A point that two parts have alike is kept once; one that failed in a part and is there is not told.

    Args:
        one_checkpoint: a model in a precision must be the same checkpoint everywhere.
        prefixed: labels begin with the name of the part; None means where there are several.

    Raises:
        InputError: a part is of another version or another checkpoint, or two have measured the same point.
    """
    _check_same(parts, _SAME if one_checkpoint else {_VERSION: _SAME[_VERSION]})
    prefixed = len(parts) > 1 if prefixed is None else prefixed
    points: dict[str, Mapping[str, Any]] = {}
    owners: dict[str, tuple[str, Mapping[str, Any]]] = {}
    same = 0
    for part in parts:
        for label, point in part.points.items():
            key = point["key"]
            if key in owners:
                owner, earlier = owners[key]
                if earlier["row"] != point["row"]:
                    raise InputError(
                        f"{owner} and {part.name} have both measured the point {label}, with different results",
                        fix="Leave one of the folders out: a point is measured once.",
                    )
                same += 1
                continue
            owners[key] = part.name, point
            points[_label(part.name, label, prefixed)] = point
    failed = {_label(part.name, label, prefixed): why for part in parts for label, why in part.failed.items()}
    return Merged(
        points,
        {label: why for label, why in failed.items() if label not in points},
        _distinct(each for part in parts for each in part.workloads),
        {part.name: part.environment for part in parts},
        same,
    )


def _label(part: str, label: str, prefixed: bool) -> str:
    """The label of a point among those of all parts."""
    return f"{part}.{label}" if prefixed else label


def _check_same(parts: Sequence[Part], columns: Mapping[str, str]) -> None:
    """Refuse a part of another version, or of another checkpoint of the same name, than the first with rows of it."""
    first: dict[tuple[Any, ...], tuple[str, Any]] = {}
    for part in parts:
        for point in part.points.values():
            row = point["row"]
            for column, meaning in columns.items():
                # One version for all, and one checkpoint for each model in each precision.
                which = (column,) if column == _VERSION else (column, row["model"], row["precision"])
                owner, value = first.setdefault(which, (part.name, row[column]))
                if value != row[column]:
                    raise InputError(
                        f"the results in {part.name} are {meaning} than those in {owner}: {column} {row[column]} and "
                        f"{value}",
                        fix="Merge them separately, or measure one of them again.",
                    )


def _distinct(workloads: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for workload in workloads:
        if workload not in found:
            found.append(workload)
    return found

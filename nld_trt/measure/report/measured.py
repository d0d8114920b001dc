# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a sweep measured, as a report reads it back from the sweep's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from nld_trt import names
from nld_trt.errors import InputError, shortened
from nld_trt.files import read_json
from nld_trt.measure.aiperf.categories import category_rows
from nld_trt.measure.sweep.report import SCHEMA_VERSION, series
from nld_trt.measure.sweep.results import ENVIRONMENT, POINTS, SUMMARY_JSON
from nld_trt.model.family import FAMILIES, NLD

# What a report cannot do without, and what else a row may leave empty.
_NUMBERS: Final = ("concurrency", "output_tps", "output_tps_min", "output_tps_max")
_NEEDED: Final = ("model", "mode", "block_length", *_NUMBERS)
# What tells the points of one sweep apart.
_SETTINGS: Final = ("mode", "block_length", "threshold", "concurrency", "request_rate")
_SUBJECT: Final = ("model", "backend", "precision", "device", "workload", "arrivals")

Settings = tuple[Any, ...]


def family_title(family: str | None) -> str | None:
    """A family in words; one that this version does not know is its own name."""
    return FAMILIES[family].title if family is not None and family in FAMILIES else family


@dataclass(frozen=True)
class Subject:
    """What was measured: a model on a device. A client of a server knows the model alone.

    Attributes:
        family: a key of ``FAMILIES``, if the row has it.
        workload: the name of the requests.
        arrivals: the rate at which they arrive, in words; None for a closed loop.
    """

    model: str
    family: str | None = None
    backend: str | None = None
    precision: str | None = None
    device: str | None = None
    workload: str | None = None
    arrivals: str | None = None

    def __str__(self) -> str:
        how = " ".join(part for part in (self.backend, self.precision) if part)
        # Nemotron-Labs-Diffusion is what a report is about, and not said.
        family = None if self.family in (None, NLD) else family_title(self.family)
        parts = (self.model, family, how, self.device, self.workload, self.arrivals)
        return ", ".join(part for part in parts if part)

    def beside(self, others: Sequence[Subject]) -> str:
        """The parts in which this one differs from one of ``others``, for a name in a legend; empty without any."""
        differing = [name for name in _SUBJECT if len({getattr(other, name) for other in (self, *others)}) > 1]
        # Of a model's id on a hub, the name without its owner.
        short = replace(self, model=self.model.rpartition("/")[2])
        return " ".join(str(found) for name in differing if (found := getattr(short, name)) is not None)


@dataclass(frozen=True)
class Measurement:
    """One point of a sweep.

    Attributes:
        row: the sweep's row (``nld_trt.measure.sweep.report.COLUMNS``).
        run: the name of the run that it is of.
        source: the file that has it.
        date: when it was measured, if the file says it.
    """

    row: Mapping[str, Any]
    run: str
    source: str
    date: str | None = None

    @property
    def settings(self) -> Settings:
        return settings_of(self.row)

    @property
    def subject(self) -> Subject:
        rate = self.row.get("request_rate")
        backend, precision, device = (self.row.get(name) for name in ("backend", "precision", "device"))
        arrivals = None if rate is None else f"{rate:g} requests/s"
        family, workload = self.row.get("family"), self.row.get("workload")
        return Subject(str(self.row["model"]), family, backend, precision, device, workload, arrivals)

    @property
    def series(self) -> str:
        """The mode and what else its points share but the number of users."""
        return series(self.row)

    @property
    def mode(self) -> str:
        return str(self.row["mode"])

    @property
    def is_ar(self) -> bool:
        return self.mode == names.AR

    @property
    def is_auto(self) -> bool:
        return self.mode == names.AUTO

    @property
    def users(self) -> int:
        """Requests in flight."""
        return int(self.row["concurrency"])

    @property
    def rate(self) -> float:
        """Output tokens per second of all users, the median of the repeats."""
        return float(self.row["output_tps"])

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest rate of the repeats."""
        return float(self.row["output_tps_min"]), float(self.row["output_tps_max"])

    @property
    def repeats(self) -> int:
        return int(self.row.get("repeats") or 1)

    @property
    def per_user(self) -> float | None:
        """Output tokens per second that one user sees; None where no request had a second chunk."""
        found = self.row.get("tps_per_user")
        return None if found is None else float(found)

    @property
    def gpus(self) -> int | None:
        """Number of GPUs; 0 on a CPU, None where a client did not say it."""
        return self.row.get("num_gpus")

    @property
    def scripted(self) -> str | None:
        """The source of an acceptance that was drawn in place of the engine's, in words."""
        return self.row.get("scripted_acceptance")


@dataclass(frozen=True)
class SweepRun:
    """The folder of a sweep.

    Attributes:
        workloads: what the points decoded; a folder of joined sweeps may have several.
        environments: the machine by the name of the part; a sweep that was not joined is its only part.
        failed: the reason for each point that failed, by its label.
        categories: rows of ``categories.csv``; none without categories of prompts.
        commands: of the points that have them, by the name of their file.
    """

    name: str
    folder: Path
    workloads: tuple[Mapping[str, Any], ...]
    environments: Mapping[str, Mapping[str, Any]]
    measurements: tuple[Measurement, ...]
    failed: Mapping[str, str] = field(default_factory=dict)
    categories: tuple[Mapping[str, Any], ...] = ()
    commands: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, name: str | None = None) -> SweepRun:
        """Read the results in ``folder``. Nothing is written.

        Args:
            name: of the run in the report; the folder's by default.

        Raises:
            InputError: there is no folder, it is not a sweep's, nothing in it is finished, or a file is damaged or of
                another version.
        """
        summary = _summary(folder)
        environment = read_json(folder / ENVIRONMENT)
        rows, failed = summary.get("rows"), summary.get("failed") or {}
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise _damaged(folder, "has no list of rows")
        for row in rows:
            _check(row, folder)
        if not rows:
            raise _unfinished(folder, f"none of its points was measured, and {len(failed)} failed")
        name = name or folder.resolve().name
        points = _points(folder)
        return cls(
            name,
            folder,
            tuple(summary.get("workloads") or [summary.get("workload") or {}]),
            environment.get("merged") or {name: environment},
            tuple(_measurement(row, name, points) for row in rows),
            failed,
            tuple(category_rows(point for _, point in points.values())),
            {file: point["commands"] for file, point in points.values() if point.get("commands")},
        )


def settings_of(row: Mapping[str, Any]) -> Settings:
    """What tells a point from the others of its sweep."""
    return tuple(row.get(name) for name in _SETTINGS)


def read_runs(folders: Sequence[Path]) -> list[SweepRun]:
    """Read several folders; runs whose folders have one name are told apart by a number.

    Raises:
        InputError: as :meth:`SweepRun.read`, or a folder is given twice.
    """
    places = [folder.resolve() for folder in folders]
    for place, folder in zip(places, folders, strict=True):
        if places.count(place) > 1:
            raise InputError(f"the results folder {folder} is given twice")
    taken: dict[str, int] = {}
    runs = []
    for place, folder in zip(places, folders, strict=True):
        taken[place.name] = taken.get(place.name, 0) + 1
        number = taken[place.name]
        runs.append(SweepRun.read(folder, place.name if number == 1 else f"{place.name} ({number})"))
    return runs


def _measurement(
    row: Mapping[str, Any], run: str, points: Mapping[tuple[Settings, Any], tuple[str, Mapping[str, Any]]]
) -> Measurement:
    file, point = points.get((settings_of(row), row["output_tps"]), (SUMMARY_JSON, {}))
    return Measurement(row, run, file, point.get("date"))


def _points(folder: Path) -> dict[tuple[Settings, Any], tuple[str, Mapping[str, Any]]]:
    """The files of points, each with its name, by settings and rate; damaged ones are not told from absent ones."""
    found: dict[tuple[Settings, Any], tuple[str, Mapping[str, Any]]] = {}
    for path in sorted((folder / POINTS).glob("*.json")):
        try:
            point = read_json(path)
        except InputError:  # the row is in the summary too
            continue
        row = point.get("row")
        if isinstance(row, dict) and "output_tps" in row:
            found[settings_of(row), row["output_tps"]] = (f"{POINTS}/{path.name}", point)
    return found


def _summary(folder: Path) -> dict[str, Any]:
    """The summary of a folder whose version is this program's."""
    if not folder.is_dir():
        kind = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"the results folder {folder} {kind}", fix="Give the folder that nld-trt sweep -o named.")
    if not (folder / ENVIRONMENT).is_file():
        raise InputError(
            f"{folder} is not a folder of sweep results: it has no {ENVIRONMENT}",
            fix="Give the folder that nld-trt sweep -o named.",
        )
    if not (folder / SUMMARY_JSON).is_file():
        raise _unfinished(folder, f"no point has ended, since there is no {SUMMARY_JSON}")
    summary = read_json(folder / SUMMARY_JSON)
    version = summary.get("schema_version")
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{folder / SUMMARY_JSON} has schema version {shortened(version)}; this nld-trt reads {SCHEMA_VERSION}",
            fix="Report it with the nld-trt that measured it, or measure again into another folder.",
        )
    return summary


def _check(row: Mapping[str, Any], folder: Path) -> None:
    missing = [name for name in _NEEDED if name not in row]
    if missing:
        raise _damaged(folder, f"has a row without {', '.join(missing)}")
    wrong = [name for name in _NUMBERS if isinstance(row[name], bool) or not isinstance(row[name], int | float)]
    if wrong:
        raise _damaged(folder, f"has a row whose {wrong[0]} is {shortened(row[wrong[0]])!r}, which is no number")


def _damaged(folder: Path, what: str) -> InputError:
    return InputError(
        f"{folder / SUMMARY_JSON} {what}",
        fix="Run the sweep's command again: finished points are not measured a second time.",
    )


def _unfinished(folder: Path, what: str) -> InputError:
    return InputError(
        f"{folder} has nothing to report: {what}", fix="Run the sweep's command again; it goes on where it ended."
    )

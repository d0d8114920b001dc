# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A sweep file at work: what is missing is built, sweeps run as processes of their own, and their results are joined.

Everything is in one folder: ``build/`` with checkpoints and engines, ``sweeps/`` with a folder for each engine and
workload, ``tasks/`` with one for each point that ran by itself, ``logs/``, and the joined results as a sweep's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Final

from nld_trt.errors import InputError, OperationError
from nld_trt.files import publish_file, refuse_other_results, write_json
from nld_trt.machine import environment
from nld_trt.measure.matrix.child import Child, reason_in
from nld_trt.measure.matrix.engine_steps import EngineTarget
from nld_trt.measure.matrix.sweep_file import SweepFile
from nld_trt.measure.matrix.tasks import Task, Unit, tasks_of, units_of
from nld_trt.measure.sweep.merge import Merged, Part, merge
from nld_trt.measure.sweep.results import ENVIRONMENT, SUMMARY_JSON
from nld_trt.progress import SILENT, Progress

_BUILD: Final = "build"
_SWEEPS: Final = "sweeps"
_TASKS: Final = "tasks"
_LOGS: Final = "logs"
_NOT_RUN: Final = "it has not run"


@dataclass(frozen=True)
class Found:
    """What a sweep file has come to.

    Attributes:
        merged: the joined results.
        failed: the reason for each point that was not measured, by its label.
        left_out: the reason for each engine that this machine cannot run, by its name.
    """

    merged: Merged
    failed: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Matrix:
    """A sweep file and the folder of its results."""

    file: SweepFile
    folder: Path
    aiperf: Path | None = None

    @cached_property
    def units(self) -> list[Unit]:
        return units_of(self.file, self.folder.absolute() / _BUILD)

    @cached_property
    def tasks(self) -> list[Task]:
        return tasks_of(self.units)

    @property
    def engines(self) -> list[EngineTarget]:
        """Every engine once."""
        found = {unit.engine.name: unit.engine for unit in self.units if unit.engine is not None}
        return list(found.values())

    def prepare(self) -> None:
        """Make the folder one of results.

        Raises:
            InputError: it holds something that is no sweep, or cannot be created.
        """
        refuse_other_results(self.folder, ENVIRONMENT, "sweep")
        try:
            (self.folder / _LOGS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"Cannot create the folder {self.folder}: {error.strerror}") from error
        with publish_file(self.folder / ENVIRONMENT) as work:
            write_json(work, dict(environment.facts()))

    def build(self, engines: Sequence[EngineTarget], progress: Progress = SILENT) -> dict[str, str]:
        """Build what is missing of ``engines``; returns the reason for each that could not be built, by its name."""
        failed = {}
        for engine in engines:
            for step in engine.steps:
                if step.is_done:
                    continue
                command = f"nld-trt {step.arguments[0]}"
                step.makes.parent.mkdir(parents=True, exist_ok=True)
                with progress.stage(f"{command} {step.makes.name}"):
                    why = Child(step.arguments, self._log(f"{step.arguments[0]}-{step.makes.name}")).run()
                if why is not None:
                    progress.warn(f"{engine.name} was not built: {why}")
                    failed[engine.name] = f"{command}: {why}"
                    break
        return failed

    def run(self, *, resume: bool = True, progress: Progress = SILENT) -> Found:
        """Build what is missing, measure every point that is not finished, and join the results.

        Raises:
            InputError: this machine can run none of the engines, or the folder holds something that is no sweep.
        """
        left_out = self.check_machine()
        for name, why in left_out.items():
            progress.note(f"left out: {name}: {why}")
        self.prepare()
        failed: dict[str, str] = {}
        unbuilt = self.build([engine for engine in self.engines if engine.name not in left_out], progress)
        for number, unit in enumerate(self.units, start=1):
            if unit.engine_name in left_out:
                continue
            if unit.engine_name in unbuilt:
                failed |= {task.label: unbuilt[unit.engine_name] for task in self.tasks if task.unit is unit}
                continue
            with progress.stage(f"sweep {number}/{len(self.units)}: {unit.name}"):
                problem = self._sweep(unit, resume)
            if problem is not None:
                progress.warn(f"{unit.name}: {problem}")
                failed |= self._missing(unit, problem)
        parts = [self._part(_SWEEPS, unit.name, unit.name) for unit in self.units]
        return self._found(parts, failed, left_out)

    def _sweep(self, unit: Unit, resume: bool) -> str | None:
        """Measure all points of a unit in one process; returns why that failed, or None."""
        folder = self.folder.absolute() / _SWEEPS / unit.name
        arguments = unit.arguments(folder, self._prompts(unit), more=self._flags(resume))
        return Child(arguments, self._log(unit.name)).run()

    def _missing(self, unit: Unit, why: str) -> dict[str, str]:
        """The points of a unit whose sweep ended before them, each with the reason."""
        part = self._part(_SWEEPS, unit.name, unit.name)
        tasks = [task for task in self.tasks if task.unit is unit]
        if part is None:
            return {task.label: why for task in tasks}
        ended = len(part.points) + len(part.failed)
        # A sweep measures its points in the order of the tasks.
        return {task.label: why for task in tasks[ended:]}

    def run_task(
        self,
        number: int,
        *,
        resume: bool = True,
        variables: Mapping[str, str] | None = None,
        stop: Event | None = None,
    ) -> str | None:
        """Measure one point by itself; returns why that failed, or None.

        Args:
            variables: of the environment of its process, which is ended once ``stop`` is set.

        Raises:
            InputError: there is no such point, or its engine is not built.
        """
        if not 0 <= number < len(self.tasks):
            raise InputError(f"{self.file.path} has no point {number}; its points are 0 to {len(self.tasks) - 1}")
        task = self.tasks[number]
        engine = task.unit.engine
        if engine is not None and not engine.is_built:
            raise InputError(f"the engine of point {number} is not built: {engine.folder}", fix="Run --step build.")
        folder = self.folder.absolute() / _TASKS / task.label
        folder.parent.mkdir(parents=True, exist_ok=True)
        arguments = task.arguments(folder, self._prompts(task.unit), more=self._flags(resume))
        return Child(arguments, self._log(task.label), variables).run(stop)

    def collect(self, *, left_out: Mapping[str, str] | None = None, unbuilt: Mapping[str, str] | None = None) -> Found:
        """Join the results of the points that ran by themselves; those without results are named as failed.

        Args:
            left_out, unbuilt: the reason for each engine that was not to run, or could not be built, by its name.
        """
        left_out, unbuilt = left_out or {}, unbuilt or {}
        failed, parts = {}, []
        for task in self.tasks:
            engine = task.unit.engine_name
            if engine in left_out:
                continue
            part = self._part(_TASKS, task.label, task.unit.name)
            if part is not None and part.points:
                parts.append(part)
            elif engine in unbuilt:
                failed[task.label] = unbuilt[engine]
            else:
                failed[task.label] = reason_in(self._log(task.label)) or _NOT_RUN
        return self._found(parts, failed, left_out)

    @property
    def platforms(self) -> tuple[str | None, ...]:
        """The platforms whose engines are measured; None alone for a server."""
        return self.file.platforms or (None,)

    def tasks_on(self, platform: str | None) -> list[Task]:
        """The points that are measured on a platform."""
        return [task for task in self.tasks if task.unit.platform == platform]

    def engines_on(self, platform: str | None) -> list[EngineTarget]:
        """The engines for a platform; all of them for None."""
        return [engine for engine in self.engines if platform in (None, engine.platform)]

    def check_machine(self) -> dict[str, str]:
        """Return the reason for each engine that this machine cannot run, by its name.

        Raises:
            InputError: it can run none of them.
        """
        left_out = {engine.name: unfit for engine in self.engines if (unfit := engine.unfit) is not None}
        if left_out and len(left_out) == len(self.engines):
            raise InputError(
                f"this machine can run none of the engines of {self.file.path}",
                details=[f"{name}: {why}" for name, why in left_out.items()],
                fix="Run it where they run, by --emit slurm or --emit kubernetes for example.",
            )
        return left_out

    def _found(self, parts: Sequence[Part | None], failed: dict[str, str], left_out: Mapping[str, str]) -> Found:
        merged = merge([part for part in parts if part is not None], one_checkpoint=False, prefixed=True)
        everything = {**failed, **merged.failed}
        if merged.points:
            Merged(merged.points, everything, merged.workloads, merged.environments, merged.same).write(self.folder)
        return Found(merged, everything, left_out)

    def _part(self, kind: str, folder: str, name: str) -> Part | None:
        """The results of a sweep, under the name of its unit; None if it has none."""
        path = self.folder / kind / folder
        if not (path / SUMMARY_JSON).is_file():
            return None
        part = Part.read(path)
        return Part(name, part.workloads, part.environment, part.points, part.failed)

    def _prompts(self, unit: Unit) -> Path:
        return unit.workload.prompts_in(self.folder.absolute() / _BUILD).absolute()

    def _flags(self, resume: bool) -> list[str]:
        flags = [] if resume else ["--no-resume"]
        return flags if self.aiperf is None else [*flags, "--aiperf", str(self.aiperf.absolute())]

    def _log(self, name: str) -> Path:
        return self.folder.absolute() / _LOGS / f"{name}.log"


def raise_failed(found: Found, points: int) -> None:
    """Name the points that failed.

    Raises:
        OperationError: there are some.
    """
    if found.failed:
        raise OperationError(
            f"{len(found.failed)} of {points} points failed",
            details=[f"{label}: {why}" for label, why in found.failed.items()],
        )

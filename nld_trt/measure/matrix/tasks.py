# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a sweep file comes to: a sweep for each engine and workload, and its points, each of which can run by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nld_trt import names
from nld_trt.measure.matrix.engine_steps import EngineTarget, engine_targets
from nld_trt.measure.matrix.sweep_file import SweepFile
from nld_trt.measure.matrix.workload import Workload

# Variants without blocks.
_BLOCKLESS: Final = (names.AR, names.AUTO)
# In the place of an engine's name, and of a platform's.
SERVER: Final = "server"


@dataclass(frozen=True)
class Unit:
    """A sweep of one engine, or of the server, over one workload.

    Attributes:
        engine: None for a server.
    """

    file: SweepFile
    workload: Workload
    engine: EngineTarget | None

    @property
    def name(self) -> str:
        return f"{self.engine_name}.{self.workload.name}"

    @property
    def platform(self) -> str | None:
        return None if self.engine is None else self.engine.platform

    @property
    def modes(self) -> tuple[str, ...]:
        return self.file.modes_of(self._model)

    @property
    def block_lengths(self) -> tuple[int, ...]:
        """Empty for the mode's own."""
        return self.file.block_lengths_of(self._model)

    def lengths(self, mode: str) -> Sequence[int | None]:
        """The block lengths of the points of a mode."""
        if mode in _BLOCKLESS or not self.block_lengths:
            return (None,)
        most = self.file.build_of(self._model).get("quadratic_length") if mode == names.QUADRATIC else None
        return [length for length in self.block_lengths if most is None or length <= most]

    @property
    def _model(self) -> str | None:
        return None if self.engine is None else self.engine.model

    @property
    def engine_name(self) -> str:
        """The engine's name, or one that no engine has."""
        return SERVER if self.engine is None else self.engine.name

    def arguments(self, folder: Path, prompts: Path, *, more: Sequence[str] = ()) -> list[str]:
        """The arguments of ``nld-trt`` that measure all points into ``folder``."""
        modes, users, rates = ",".join(self.modes), self.file.users, self.workload.request_rates
        return self._arguments(folder, prompts, modes, self.block_lengths, users, rates, more)

    def _arguments(
        self,
        folder: Path,
        prompts: Path,
        modes: str,
        lengths: Sequence[int],
        users: Sequence[int],
        rates: Sequence[float],
        more: Sequence[str],
    ) -> list[str]:
        file, workload = self.file, self.workload
        lists = {"--block-length": lengths, "--concurrency": users, "--request-rate": rates}
        values = {
            "--modes": modes,
            **{flag: ",".join(f"{each:g}" for each in listed) for flag, listed in lists.items() if listed},
            "--max-new-tokens": workload.max_new_tokens,
            "--requests": workload.requests,
            "--requests-per-user": workload.requests_per_user,
            "--repeats": file.repeats,
            "--warmup": file.warmup,
            "--workload": workload.name,
            "--scripted-acceptance": None if file.scripted_acceptance is None else file.acceptance_argument,
            "--model-name": file.model_name,
            "--num-gpus": file.num_gpus,
        }
        flags = [text for flag, value in values.items() if value is not None for text in (flag, str(value))]
        flags += ["--ignore-eos"] if workload.ignore_eos else []
        target = str(file.server if self.engine is None else self.engine.folder)
        return ["sweep", target, "--prompts", str(prompts), "-o", str(folder), *flags, "--no-plots", *more]


@dataclass(frozen=True)
class Task:
    """One point of a unit, as a process of its own measures it.

    Attributes:
        number: of the task, from 0.
        block_length: None for the mode's own, or where it has none.
    """

    number: int
    unit: Unit
    mode: str
    block_length: int | None
    users: int
    request_rate: float | None

    @property
    def label(self) -> str:
        block = "" if self.block_length is None else f"_b{self.block_length}"
        rate = "" if self.request_rate is None else f"_r{self.request_rate:g}"
        return f"{self.unit.name}.{self.mode}{block}_c{self.users}{rate}"

    def arguments(self, folder: Path, prompts: Path, *, more: Sequence[str] = ()) -> list[str]:
        """The arguments of ``nld-trt`` that measure the point into ``folder``."""
        lengths = () if self.block_length is None else (self.block_length,)
        rates = () if self.request_rate is None else (self.request_rate,)
        return self.unit._arguments(folder, prompts, self.mode, lengths, (self.users,), rates, more)


def units_of(file: SweepFile, work: Path) -> list[Unit]:
    """Return the sweeps that a file asks for, engines first.

    Args:
        work: the folder of everything that is built.
    """
    engines: Sequence[EngineTarget | None] = [None] if file.server is not None else engine_targets(file, work)
    return [Unit(file, workload, engine) for engine in engines for workload in file.workloads]


def tasks_of(units: Sequence[Unit]) -> list[Task]:
    """Return every point, in the order of the units and of their modes."""
    points = [
        (unit, mode, length, users, rate)
        for unit in units
        for mode in unit.modes
        for length in unit.lengths(mode)
        for users in unit.file.users
        for rate in unit.workload.request_rates or (None,)
    ]
    return [Task(number, *point) for number, point in enumerate(points)]

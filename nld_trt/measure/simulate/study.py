# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The controller against every fixed setting, on the same loads: what ``nld-trt simulate`` shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nld_trt import names
from nld_trt.decode.auto.candidate import Candidate, candidates
from nld_trt.decode.auto.controller import Controller
from nld_trt.decode.auto.costs import CostTable
from nld_trt.decode.auto.shapes import PUBLISHED, Shape
from nld_trt.measure.simulate.run import Adaptive, Fixed, Policy, Simulated, simulate
from nld_trt.measure.simulate.trace import Load, Phase, Users
from nld_trt.names import AUTO
from nld_trt.progress import SILENT, Progress

SCHEMA_VERSION: Final = 1


@dataclass(frozen=True)
class Setting:
    """A curve of the picture: a fixed candidate, or the controller where it is None."""

    candidate: Candidate | None

    @property
    def name(self) -> str:
        return AUTO if self.candidate is None else str(self.candidate)


@dataclass(frozen=True)
class Row:
    """One setting under one load.

    Attributes:
        load: number of users of a closed loop, or the name of a trace.
        rate: tokens per second in which something was computed.
        tokens_by_candidate: of how they were made; a fixed setting has one.
        switches, probes: of the controller.
    """

    load: int | str
    setting: str
    rate: float
    tokens: int
    seconds: float
    latency_p50: float | None
    latency_p99: float | None
    tokens_by_candidate: dict[str, int]
    switches: int = 0
    probes: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {
            "load": self.load,
            "setting": self.setting,
            "tokens_per_second": round(self.rate, 1),
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "latency_p50_s": _rounded(self.latency_p50),
            "latency_p99_s": _rounded(self.latency_p99),
            "tokens_by_candidate": self.tokens_by_candidate,
            "switches": self.switches,
            "probes": self.probes,
        }


@dataclass(frozen=True)
class Study:
    """What is simulated, and how.

    Attributes:
        table: seconds of every forward.
        shape: of the acceptance that requests have.
        expected: what the controller expects before it has seen any.
        max_rows: rows that decode together.
        seconds: simulated for each number of users.
    """

    table: CostTable
    shape: Shape
    expected: Shape = PUBLISHED[names.DEFAULT_WORKLOAD]
    max_rows: int = names.DEFAULT_SIMULATED_ROWS
    seconds: float = names.DEFAULT_SIMULATED_SECONDS
    output_tokens: int = names.DEFAULT_SIMULATED_TOKENS
    seed: int = 0

    @property
    def settings(self) -> tuple[Setting, ...]:
        """Every candidate that the table has costs of, and the controller."""
        return (*map(Setting, candidates(self.table.widths)), Setting(None))

    def over_users(self, concurrency: Sequence[int], progress: Progress = SILENT) -> list[Row]:
        """Every setting with every number of users, each of whom sends a request when the one before is answered."""

        def load(users: int) -> Callable[[], Load]:
            return lambda: Users([Phase(users, self.seconds)], self.output_tokens)

        with progress.stage("simulating", total=len(concurrency), unit="numbers of users") as stage:
            found: list[Row] = []
            for users in concurrency:
                found += (row for row, _ in self.over_load(users, load(users)))
                stage.advance(1)
        return found

    def over_load(self, name: int | str, load: Callable[[], Load]) -> Iterator[tuple[Row, Simulated]]:
        """Every setting under one load.

        Args:
            load: makes it anew for each setting.
        """
        for setting in self.settings:
            controller = Controller(candidates(self.table.widths), self.table, shape=self.expected)
            policy: Policy = Adaptive(controller) if setting.candidate is None else Fixed(setting.candidate)
            done = simulate(load(), self.table, self.shape, policy, max_rows=self.max_rows, seed=self.seed)
            yield _row(name, setting, done, controller), done


def _row(load: int | str, setting: Setting, done: Simulated, controller: Controller) -> Row:
    return Row(
        load=load,
        setting=setting.name,
        rate=done.rate,
        tokens=done.tokens,
        seconds=done.seconds,
        latency_p50=_percentile(done.latencies, 0.5),
        latency_p99=_percentile(done.latencies, 0.99),
        tokens_by_candidate={str(candidate): tokens for candidate, tokens in done.tokens_by_candidate.items()},
        switches=controller.switches.total(),
        probes=controller.probes,
    )


def _percentile(values: Sequence[float], part: float) -> float | None:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))] if values else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A progress that remembers what it was told, and can interrupt the work when it is told something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Recorded:
    """Both a Progress and a Stage (nld_trt.progress).

    Attributes:
        stages, details, notes, warnings: in the order in which they came.
        done: what each call of ``advance`` reported: (amount, earlier).
        interrupted_by: names or texts for which this is true raise KeyboardInterrupt.
    """

    stages: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    done: list[tuple[float, bool]] = field(default_factory=list)
    totals: list[tuple[float | None, str]] = field(default_factory=list)
    interrupted_by: Callable[[str], bool] = lambda text: False

    @contextmanager
    def stage(self, name: str, *, total: float | None = None, unit: str = "") -> Iterator[Recorded]:
        self._record(self.stages, name)
        self.totals.append((total, unit))
        yield self

    def detail(self, text: str) -> None:
        self._record(self.details, text)

    def note(self, text: str) -> None:
        self._record(self.notes, text)

    def warn(self, text: str) -> None:
        self._record(self.warnings, text)

    def advance(self, amount: float, *, earlier: bool = False) -> None:
        self.done.append((amount, earlier))

    def _record(self, where: list[str], text: str) -> None:
        if self.interrupted_by(text):
            raise KeyboardInterrupt
        where.append(text)

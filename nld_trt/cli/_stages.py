# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Stages of long work as lines of text, for a stderr that is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

Say = Callable[[str], None]


@dataclass
class Pace:
    """How much of a stage is done, and how fast.

    Attributes:
        total: size of the work in ``unit``; above zero.
        done: in ``unit``, including what earlier runs did.
        before: the part of ``done`` that earlier runs did.
    """

    total: float
    unit: str
    done: float = 0.0
    before: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def advance(self, amount: float, earlier: bool) -> None:
        self.done += amount
        self.before += amount if earlier else 0.0

    @property
    def seconds_each(self) -> float:
        """Seconds per unit of this run's own work."""
        return (time.monotonic() - self.started) / max(self.done - self.before, 1e-9)

    @property
    def rate(self) -> str:
        return f"{_count(self.done)} of {_count(self.total)} {self.unit}, {self.seconds_each:.2f} s each"

    @property
    def left(self) -> str:
        return f"{self.seconds_each * (self.total - self.done):.0f} s left"

    @property
    def tenths(self) -> int:
        """Whole tenths of the work that are done. The small term keeps sums of parts from falling short of one."""
        return int(10 * self.done / self.total + 1e-9)


class LineStage:
    """A stage that writes a line for every tenth of its work, and its details for those who want them."""

    def __init__(self, name: str, total: float | None, unit: str, say: Say, say_detail: Say) -> None:
        self._name = name
        self._pace = None if total is None else Pace(total, unit)
        self._say, self._say_detail = say, say_detail
        self._shown = 0

    def detail(self, text: str) -> None:
        self._say_detail(f"{self._name}: {text}")

    def advance(self, amount: float, *, earlier: bool = False) -> None:
        if self._pace is None:
            return
        self._pace.advance(amount, earlier)
        if self._shown < self._pace.tenths < 10 and not earlier:
            self._shown = self._pace.tenths
            self._say(f"{self._name}: {self._pace.rate}, {self._pace.left}")


def _count(done: float) -> str:
    """A count of units, with one digit for a part of one."""
    return f"{done:.1f}".removesuffix(".0")

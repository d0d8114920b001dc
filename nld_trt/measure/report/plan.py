# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A plan beside what was measured: the file of ``nld-trt plan --json``, its points, and how far off each is."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nld_trt.errors import InputError, shortened
from nld_trt.files import read_json
from nld_trt.measure.report.measured import Measurement
from nld_trt.measure.report.published import platform_of

_WORDS: Final = ("platform", "precision", "mode", "provenance")
_RATES: Final = ("tokens_per_second", "tokens_per_second_low", "tokens_per_second_high")
_NUMBERS: Final = ("users", *_RATES)


@dataclass(frozen=True)
class PlannedPoint:
    """One point of a plan: output tokens per second of all users, with a range.

    Attributes:
        context: cached tokens that it is for; None where the plan does not say it.
        provenance: where the number comes from, in the plan's words.
    """

    platform: str
    precision: str
    mode: str
    block_length: int | None
    users: int
    context: int | None
    rate: float
    low: float
    high: float
    provenance: str


@dataclass(frozen=True)
class PlanCheck:
    """A planned point and the measured one that it is of."""

    planned: PlannedPoint
    measured: Measurement

    @property
    def error(self) -> float:
        """The plan over the measurement, less 1."""
        return self.planned.rate / self.measured.rate - 1

    @property
    def within(self) -> bool:
        """Whether the measured median lies in the plan's range."""
        return self.planned.low <= self.measured.rate <= self.planned.high


def read_plan(path: Path) -> list[PlannedPoint]:
    """Read the points of a plan.

    Raises:
        InputError: the file is missing, or no plan.
    """
    points = read_json(path).get("points")
    if not isinstance(points, list) or not points or not all(isinstance(each, dict) for each in points):
        raise _no_plan(path, "it has no list of points")
    return [_point(each, path) for each in points]


def check_plan(plan: Sequence[PlannedPoint], measurements: Sequence[Measurement]) -> list[PlanCheck]:
    """Each measured point with the planned ones of its settings, in the order of the measurements.

    The platform is compared where the row has one: a client of a server does not know it. The precision is compared
    where the plan has several; else it is the plan's, since rows of earlier versions name only the precision that an
    engine computes in, and not that of its weights.
    """
    several = len({planned.precision for planned in plan}) > 1
    return [
        PlanCheck(planned, measured)
        for measured in measurements
        for planned in plan
        if measured.rate > 0
        and _same(planned, measured)
        # A row's precision begins with how weights are stored, where they are not as they are computed with.
        and (not several or (measured.subject.precision or planned.precision).startswith(planned.precision))
    ]


def median_error(checks: Sequence[PlanCheck]) -> float:
    """The median of the errors' magnitudes."""
    return statistics.median(abs(check.error) for check in checks)


def _same(planned: PlannedPoint, measured: Measurement) -> bool:
    subject = measured.subject
    platform = platform_of(subject.device, measured.gpus) if subject.device else None
    block = measured.row["block_length"]
    return (
        (planned.mode, planned.users) == (measured.mode, measured.users)
        and (block is None or planned.block_length in (None, block))
        and (platform is None or _is_of(planned.platform, platform, subject.device or ""))
    )


def _is_of(planned: str, platform: str, device: str) -> bool:
    """Whether a plan's platform is the measured one. Kinds of one are told apart by what follows its name."""
    kind = planned.removeprefix(f"{platform}-")
    return planned == platform or (kind != planned and kind in device.lower())


def _point(values: Mapping[str, Any], path: Path) -> PlannedPoint:
    for name in _WORDS:
        if not isinstance(values.get(name), str):
            raise _no_plan(path, f"a point has no {name}")
    for name in _NUMBERS:
        found = values.get(name)
        if isinstance(found, bool) or not isinstance(found, int | float) or found <= 0:
            raise _no_plan(path, f"{name} of a point is {shortened(found)}, which is no number above 0")
    return PlannedPoint(
        platform=values["platform"],
        precision=values["precision"],
        mode=values["mode"],
        block_length=values.get("block_length"),
        users=int(values["users"]),
        context=values.get("context"),
        rate=float(values["tokens_per_second"]),
        low=float(values["tokens_per_second_low"]),
        high=float(values["tokens_per_second_high"]),
        provenance=values["provenance"],
    )


def _no_plan(path: Path, what: str) -> InputError:
    return InputError(f"--plan {path} is not a plan: {what}", fix="Make one: nld-trt plan MODEL --platform P --json")

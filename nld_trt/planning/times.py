# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Where the times of forwards are from: the laws, a measured table, or laws that a measurement has corrected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from nld_trt.decode.auto.costs import CostTable
from nld_trt.errors import InputError
from nld_trt.files import read_json
from nld_trt.planning.forward import Bound, ForwardTime, Overheads, has_laws, predict
from nld_trt.planning.platform import GpuPlatform
from nld_trt.planning.products import ModelShape
from nld_trt.planning.provenance import MEASURED


class ForwardTimes(Protocol):
    """Times of forwards, from whatever source."""

    def forward(self, rows: int, width: int) -> ForwardTime:
        """One forward of ``rows`` rows with ``width`` new tokens each."""

    def gap(self, rows: int, width: int) -> float:
        """Seconds of a round beside its forwards."""


@dataclass(frozen=True)
class LawTimes:
    """Times by the laws of a GPU. Rounds have no gaps: how long those of nld-trt are on a GPU was not measured."""

    platform: GpuPlatform
    shape: ModelShape
    context: int
    overheads: Overheads = field(default_factory=Overheads.shipped)

    def forward(self, rows: int, width: int) -> ForwardTime:
        return predict(self.platform, self.shape, self.overheads, rows=rows, width=width, context=self.context)

    def gap(self, rows: int, width: int) -> float:
        return 0.0


@dataclass(frozen=True)
class TableTimes:
    """Times of a table of ``bench loop --table``. They are of the decode loop: its gaps are in the forwards."""

    laws: LawTimes
    table: CostTable

    def forward(self, rows: int, width: int) -> ForwardTime:
        seconds = self.table.seconds(rows, width)
        # What bounds it is not measured; the law says it, where there is one.
        known = has_laws(self.laws.platform, self.laws.shape)
        bound: Bound = self.laws.forward(rows, width).bound if known else "unknown"
        return ForwardTime(width, rows, seconds, bound, MEASURED)

    def gap(self, rows: int, width: int) -> float:
        return 0.0


@dataclass(frozen=True)
class LoopTimes:
    """Laws times what was measured over what they say, for one token and for blocks, at one number of rows.

    Attributes:
        rows, block_length: of the measurement.
        token, block: measured seconds of forwards there.
        gap_seconds: of a round.
    """

    laws: LawTimes
    rows: int
    block_length: int
    token: float
    block: float
    gap_seconds: float

    def forward(self, rows: int, width: int) -> ForwardTime:
        measured_width, measured = (1, self.token) if width == 1 else (self.block_length, self.block)
        found = self.laws.forward(rows, width)
        if (rows, width) == (self.rows, measured_width):
            return replace(found, seconds=measured, provenance=MEASURED)
        ratio = measured / self.laws.forward(self.rows, measured_width).seconds
        return replace(found, seconds=found.seconds * ratio)

    def gap(self, rows: int, width: int) -> float:
        return self.gap_seconds if width > 1 else 0.0


@dataclass(frozen=True)
class Calibration:
    """What ``nld-trt bench loop`` wrote: a table, or the times of a loop.

    Attributes:
        of: engine and device, for the user.
    """

    report: Mapping[str, Any]
    table: CostTable | None
    of: str

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """Read a report.

        Raises:
            InputError: the file is no such report.
        """
        report = read_json(path)
        fix = "Measure one: nld-trt bench loop ENGINE_DIR --table -o FILE"
        if "points" in report:
            try:
                table = CostTable.from_dict(report)
            except InputError as error:
                raise InputError(f"--calibrate {path}: {error.what}", fix=fix) from error
            origin = table.origin
            of = f"{origin.backend} {origin.precision} on {origin.device}, {origin.context or '?'} cached tokens a row"
            return cls(report, table, of)
        try:
            times = [float(report[name]) for name in _TIMES]
            counts = [report["rows"], report["block_length"]]
            if min(times) <= 0 or not all(type(count) is int and count >= 1 for count in counts):
                raise ValueError("times and counts are above 0")
            float(report["gaps_ms"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"--calibrate {path} is no report of bench loop: {type(error).__name__}: {error}", fix=fix
            ) from error
        return cls(report, None, f"{report.get('model', 'an engine')} on {report.get('device', 'a device')}")

    def times(self, laws: LawTimes) -> ForwardTimes:
        """The laws of a GPU, replaced or corrected by this measurement."""
        if self.table is not None:
            return TableTimes(laws, self.table)
        token, draft, verify = (float(self.report[name]) * 1e-3 for name in _TIMES)
        return LoopTimes(
            laws, self.report["rows"], self.report["block_length"], token, (draft + verify) / 2,
            max(0.0, float(self.report["gaps_ms"]) * 1e-3),
        )  # fmt: skip


_TIMES = ("one_token_ms", "draft_ms", "verify_ms")

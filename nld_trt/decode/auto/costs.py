# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a forward costs: seconds over its rows and its width, of one engine on one device.

A table has points that somebody measured, at any rows and widths. Between and beyond them it interpolates, and never
says that a forward with more rows or more tokens per row takes less time: noise that says so is smoothed away upwards.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import accumulate
from math import isfinite
from pathlib import Path
from typing import Any, Final, Literal, Protocol, get_args

from nld_trt.errors import InputError
from nld_trt.files import read_json

SCHEMA_VERSION: Final = 1

# measured: a clock said so. derived: computed from other measurements, as the note says.
Evidence = Literal["measured", "derived"]


class Costs(Protocol):
    """Seconds of a forward, from whatever source."""

    def seconds(self, rows: int, width: int) -> float:
        """Seconds of one forward of ``rows`` rows with ``width`` new tokens each."""


@dataclass(frozen=True)
class CostPoint:
    """The seconds of one forward. ``note`` says where they are from, if that is not the table's own command."""

    rows: int
    width: int
    seconds: float
    evidence: Evidence = "measured"
    note: str = ""

    def __post_init__(self) -> None:
        assert self.rows >= 1
        assert self.width >= 1
        assert 0 < self.seconds < float("inf")


@dataclass(frozen=True)
class Origin:
    """Where and how the points of a table were measured.

    Attributes:
        engine: hash of the engine's files (:func:`nld_trt.decode.auto.stored.engine_identity`), or a name in words.
        device: name of the GPU or CPU.
        context: cached tokens per row when the timing began.
        attended: cache slots per row that attention was given, on a device that has fixed numbers of them.
        clocks: of CPU and GPU while it was measured, as :func:`nld_trt.machine.clocks.clocks` has them.
        versions: library to version.
        source: where figures are from that were not measured here.
    """

    engine: str
    device: str
    backend: str = ""
    precision: str = ""
    command: str = ""
    date: str = ""
    context: int | None = None
    attended: int | None = None
    clocks: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True)
class CostTable:
    """Measured forwards, and every other one by interpolation. At least one point."""

    points: tuple[CostPoint, ...]
    origin: Origin

    def __post_init__(self) -> None:
        assert self.points
        places = [(point.rows, point.width) for point in self.points]
        assert len(set(places)) == len(places), "a forward is measured once"

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths of the points, ascending."""
        return tuple(self._curves)

    def seconds(self, rows: int, width: int) -> float:
        """Seconds of one forward of ``rows`` rows with ``width`` new tokens each; it grows with both.

        Rows are interpolated linearly among the points of one width, and then the widths around ``width``. Beyond the
        last point the last slope goes on; before the first the first point counts, because a forward of fewer tokens
        still reads every weight.
        """
        found = self._seconds.get((rows, width))
        if found is None:
            found = self._seconds[rows, width] = self._interpolated(rows, width)
        return found

    def _interpolated(self, rows: int, width: int) -> float:
        beyond = width - self.widths[-1]
        if beyond <= 0 or len(self.widths) == 1:
            return _Curve(self.widths, self._over_widths(rows))(width)
        # The steepest of fewer rows that have points, so that a forward of more rows does not become the cheaper one.
        least = min(point.rows for point in self.points)
        slope = max(self._last_slope(point.rows) for point in self.points if point.rows <= max(rows, least))
        return self._over_widths(rows)[-1] + slope * beyond

    def _over_widths(self, rows: int) -> tuple[float, ...]:
        """Seconds at each width of the points."""
        return tuple(accumulate((curve(rows) for curve in self._curves.values()), max))

    def _last_slope(self, rows: int) -> float:
        before, last = self._over_widths(rows)[-2:]
        return (last - before) / (self.widths[-1] - self.widths[-2])

    @cached_property
    def _seconds(self) -> dict[tuple[int, int], float]:
        """What has been asked for: a server asks for the same few forwards all the time."""
        return {}

    @cached_property
    def _curves(self) -> dict[int, _Curve]:
        """For each width, ascending, the seconds over rows."""
        widths = sorted({point.width for point in self.points})
        return {
            width: _Curve.of((point.rows, point.seconds) for point in self.points if point.width == width)
            for width in widths
        }

    def to_dict(self) -> dict[str, Any]:
        points = [
            {name: value for name, value in asdict(point).items() if name != "note" or value} for point in self.points
        ]
        return {"schema_version": SCHEMA_VERSION, "origin": asdict(self.origin), "points": points}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CostTable:
        """Read a table.

        Raises:
            InputError: it has another schema version, or an entry is missing or invalid.
        """
        found = values.get("schema_version")
        if found != SCHEMA_VERSION:
            raise InputError(f"the cost table has schema version {found!r}; this nld-trt reads {SCHEMA_VERSION}")
        try:
            points = tuple(_checked_point(entry) for entry in values["points"])
            if not points:
                raise ValueError("it has no points")
            if len({(point.rows, point.width) for point in points}) < len(points):
                raise ValueError("it has two points of the same rows and width")
            return cls(points, Origin(**values["origin"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"this is not a cost table of schema version {SCHEMA_VERSION}: {error}") from error

    @classmethod
    def read(cls, path: Path) -> CostTable:
        """Read a table from a JSON file.

        Raises:
            InputError: the file cannot be read, or is no cost table.
        """
        try:
            return cls.from_dict(read_json(path))
        except InputError as error:
            raise InputError(
                f"{path}: {error.what}", fix="Measure one: nld-trt bench loop ENGINE_DIR --table -o FILE"
            ) from error


def _checked_point(entry: Mapping[str, Any]) -> CostPoint:
    rows, width, seconds = entry["rows"], entry["width"], entry["seconds"]
    if type(rows) is not int or type(width) is not int or rows < 1 or width < 1:
        raise ValueError(f"rows and width are whole numbers from 1, not {rows!r} and {width!r}")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not isfinite(seconds) or seconds <= 0:
        raise ValueError(f"seconds are a number above 0, not {seconds!r}")
    if entry.get("evidence", "measured") not in get_args(Evidence):
        raise ValueError(f"evidence is one of {', '.join(get_args(Evidence))}, not {entry['evidence']!r}")
    return CostPoint(**entry)


@dataclass(frozen=True)
class _Curve:
    """A function that never falls, by linear interpolation of its values at ascending places."""

    places: tuple[int, ...]
    values: tuple[float, ...]

    @classmethod
    def of(cls, points: Iterable[tuple[int, float]]) -> _Curve:
        places, values = zip(*sorted(points), strict=True)
        return cls(places, tuple(accumulate(values, max)))

    def __call__(self, place: int) -> float:
        if place <= self.places[0] or len(self.places) == 1:
            return self.values[0]
        after = min(bisect_left(self.places, place), len(self.places) - 1)
        (left, right), (low, high) = self.places[after - 1 : after + 1], self.values[after - 1 : after + 1]
        return low + (high - low) * (place - left) / (right - left)


def grid(rows: Iterable[int], widths: Iterable[int], seconds: Callable[[int, int], float], origin: Origin) -> CostTable:
    """The table with a point for each combination of ``rows`` and ``widths``."""
    counts = tuple(rows)
    return CostTable(
        tuple(CostPoint(count, width, seconds(count, width), "derived") for width in widths for count in counts), origin
    )


# Tokens of a forward up to which reading the weights takes longer than computing with them. The knee is near this
# number on every GPU from L40S to B200, by AIConfigurator's measured matrix products.
_KNEE: Final = 256


def assumed(rows: int, widths: Iterable[int], *, seconds: float = 0.01) -> CostTable:
    """The table of a device that nobody has timed: forwards take one time up to 256 tokens, and grow with them after.

    Only the relation between forwards is meant, and only for GPUs; live times correct it for widths that are used.

    Args:
        rows: most rows of a forward.
        seconds: of a forward of one token.
    """
    counts = sorted({rows, *(2**power for power in range(rows.bit_length()))})
    origin = Origin(engine="any", device="any", source="assumed: the same time up to 256 tokens in a forward")
    return grid(counts, widths, lambda count, width: seconds * max(1.0, count * width / _KNEE), origin)

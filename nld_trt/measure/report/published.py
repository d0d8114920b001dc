# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Published rates, as the background of what was measured: speed-ups of linear over AR, per platform and precision."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from nld_trt import names
from nld_trt.engine.platforms import PLATFORMS

_FILE: Final = Path(__file__).with_name("published.csv")
_DOUBTFUL: Final = "doubtful"

# Words in the name that a driver gives a GPU, by platform; the first that fits is it. GB10 is the GPU of DGX Spark.
_IN_DEVICE: Final = {
    names.GB200: ("GB200",),
    names.B200: ("B200",),
    names.RTX_PRO_6000: ("RTX PRO 6000",),
    names.DGX_SPARK: ("GB10", "DGX Spark"),
    names.H200: ("H200",),
    names.H100: ("H100",),
}


@dataclass(frozen=True)
class PublishedSpeedup:
    """A published pair of rates, and what one is over the other.

    Attributes:
        platform: a name of ``names.PLATFORMS``.
        ar, linear: output tokens per second at one user.
        stack: the software, in words.
        doubtful: one of the rates does not fit the rest of its source.
        sources: of both rates.
    """

    model: str
    platform: str
    precision: str
    stack: str
    ar: float
    linear: float
    doubtful: bool
    sources: tuple[str, ...]

    @property
    def factor(self) -> float:
        return self.linear / self.ar

    @property
    def title(self) -> str:
        precision = "" if self.precision == "unstated" else f" {self.precision.upper()}"
        return f"{PLATFORMS[self.platform].title}{precision}"


@cache
def published_speedups() -> tuple[PublishedSpeedup, ...]:
    """Every published rate of linear with the rate of AR of the same model, platform and precision."""
    with _FILE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))

    def configuration(row: dict[str, str]) -> tuple[str, str, str]:
        return row["model"], row["platform"], row["precision"]

    bases = {configuration(row): row for row in rows if row["mode"] == names.AR}
    pairs = [(bases[configuration(row)], row) for row in rows if row["mode"] == names.LINEAR]
    return tuple(
        PublishedSpeedup(
            *configuration(linear),
            stack=linear["stack"],
            ar=float(ar["value"]),
            linear=float(linear["value"]),
            doubtful=_DOUBTFUL in (ar["quality"], linear["quality"]),
            sources=tuple(dict.fromkeys((linear["source"], ar["source"]))),
        )
        for ar, linear in pairs
    )


def platform_of(device: str | None, gpus: int | None) -> str | None:
    """The platform that a device of a row is, by the name that its driver gives it; None where it is none of them."""
    if gpus == 0:
        return names.CPU
    found = (name for name, words in _IN_DEVICE.items() if any(word in (device or "") for word in words))
    return next(found, None)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Time and memory of a build, from builds that were measured (``build_costs.yaml``)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nld_trt.machine import host
from nld_trt.planning.platform import read_yaml
from nld_trt.planning.products import ModelShape
from nld_trt.planning.provenance import MEASURED

_FILE: Final = Path(__file__).with_name("build_costs.yaml")


@dataclass(frozen=True)
class BuildCost:
    """A build that was measured, scaled to the bytes of other weights.

    Attributes:
        seconds: processor time. A build uses little more than one core, so that it takes about as long on a free one.
        peak_bytes: resident memory.
        here: bytes of this machine's memory; None if it does not say.
    """

    seconds: float
    peak_bytes: float
    here: int | None
    source: str

    @property
    def fits_here(self) -> bool | None:
        """Whether the peak is below this machine's memory; None if that is not known."""
        return None if self.here is None else self.peak_bytes <= self.here

    def to_dict(self) -> dict[str, Any]:
        return {
            "seconds": self.seconds,
            "peak_bytes": int(self.peak_bytes),
            "memory_here": self.here,
            "fits_here": self.fits_here,
            "provenance": MEASURED,
            "source": f"scaled by the bytes of the weights: {self.source}",
        }


def build_cost(backend: str, shape: ModelShape) -> BuildCost | None:
    """What building an engine takes; None where no build of that backend and precision was measured."""
    for known in read_yaml(_FILE):
        if known["backend"] == backend and set(shape.precisions) == {known["precision"]}:
            scale = shape.weight_bytes / known["weight_bytes"]
            return BuildCost(
                known["seconds"] * scale, known["peak_bytes"] * scale, host.memory_bytes(), known["source"]
            )
    return None

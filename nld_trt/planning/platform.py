# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What is known of each GPU: one YAML file for each, in ``platforms/``, in which every value has its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

from nld_trt import names
from nld_trt.errors import InputError
from nld_trt.planning.provenance import Provenance, Value

_FOLDER: Final = Path(__file__).parent / "platforms"
# Sharpness of the knee of a GPU whose knee nobody has measured: the median of those that were.
_SHARPNESS: Final = 2.3
_SHARPNESSES: Final = tuple(tenth / 10 for tenth in range(15, 61))


@dataclass(frozen=True)
class Law:
    """The time of a matrix product: ``seconds`` + bytes / ``bandwidth``, until arithmetic takes longer.

    Attributes:
        seconds: of a product of no bytes.
        bandwidth: bytes of weights per second.
        arithmetic: FLOP/s that large products reach.
    """

    seconds: float
    bandwidth: float
    arithmetic: float
    provenance: Provenance
    source: str


@dataclass(frozen=True)
class GpuPlatform:
    """One kind of GPU.

    Attributes:
        backends: those that have this GPU, the preferred one first.
        unified_memory: the operating system and the host process use the GPU's memory, too.
        memory: bytes.
        bandwidth: bytes/s of the data sheet.
        arithmetic: FLOP/s of the data sheet, dense, by precision.
        laws: by precision of the weights.
        missing: why there is no law for other precisions.
        knee: rows of a product to its time over that of one row, BF16.
        notes: for whoever plans for this GPU.
    """

    name: str
    title: str
    compute_capability: str
    backends: tuple[str, ...]
    unified_memory: bool
    memory: Value
    bandwidth: Value
    arithmetic: Mapping[str, Value]
    laws: Mapping[str, Law]
    missing: Mapping[str, str]
    knee: Mapping[int, float]
    notes: tuple[str, ...]

    @cached_property
    def sharpness(self) -> float:
        """Exponent p of (memory^p + arithmetic^p)^(1/p), the time of a product; the larger, the sharper its knee."""
        if not self.knee:
            return _SHARPNESS
        law = self.laws[names.BF16]
        # Bytes and FLOPs of a BF16 product of M rows are as 2 to 2 M.
        over = {rows: rows * law.bandwidth / law.arithmetic for rows in self.knee}

        def error(power: float) -> float:
            predicted = {rows: float((1 + over[rows] ** power) ** (1 / power)) for rows in self.knee}
            return sum(abs(predicted[rows] / ratio - 1) for rows, ratio in self.knee.items())

        return min(_SHARPNESSES, key=error)

    def facts(self) -> dict[str, Any]:
        """The values of this GPU and their sources, as plain data."""
        values = {"memory": self.memory, "bandwidth": self.bandwidth}
        values |= {f"arithmetic.{name}": value for name, value in self.arithmetic.items()}
        return {
            "title": self.title,
            "compute_capability": self.compute_capability,
            "values": {name: vars(value) for name, value in values.items()},
            "laws": {name: vars(law) for name, law in self.laws.items()},
            "notes": list(self.notes),
        }


@cache
def gpu_platform(name: str) -> GpuPlatform:
    """What is known of the GPU called ``name``.

    Raises:
        InputError: nothing is; the message lists what exists.
    """
    if name not in names.PLANNED_PLATFORMS:
        raise InputError(f"plan has no platform {name!r}; available: {', '.join(names.PLANNED_PLATFORMS)}")
    raw = read_yaml(_FOLDER / f"{name}.yaml")
    return GpuPlatform(
        name=name,
        title=raw["title"],
        compute_capability=raw["compute_capability"],
        backends=tuple(raw["backends"]),
        unified_memory=raw["unified_memory"],
        memory=Value(**raw["memory"]),
        bandwidth=Value(**raw["bandwidth"]),
        arithmetic={precision: Value(**value) for precision, value in raw["arithmetic"].items()},
        laws={precision: Law(**law) for precision, law in raw["laws"].items()},
        missing=raw.get("missing", {}),
        knee=raw.get("knee", {}),
        notes=tuple(raw.get("notes", ())),
    )


def read_yaml(path: Path) -> Any:
    """A YAML file of this package."""
    import yaml

    # The C loader is several times faster, and not in every build of PyYAML.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)

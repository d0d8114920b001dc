# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The times that the kernels are to reach on an H100-class GPU. docs/hardware.md has them as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# The time of the same step in PyTorch over the time of the kernels, at least.
EAGER_FACTOR, COMPILED_FACTOR = 5.0, 1.0


@dataclass(frozen=True)
class Target:
    """A greedy denoise step in BF16 takes at most ``factor`` floors, or ``least_us`` where that is more.

    Attributes:
        shape: rows, window slots, vocabulary.
        least_us: the time that two launches take by themselves, which bounds steps that read little.
    """

    shape: tuple[int, int, int]
    factor: float
    least_us: float = 0.0

    def limit_us(self, floor_us: float) -> float:
        return max(self.factor * floor_us, self.least_us)


TARGETS = (Target((1, 32, 131072), 1.25, 6.0), Target((32, 32, 131072), 1.15))


@dataclass(frozen=True)
class Verdict:
    """A target and the measured value, in the same unit."""

    what: str
    wanted: float
    found: float
    met: bool

    def __str__(self) -> str:
        return f"target {'met' if self.met else 'MISSED'}: {self.what}: {self.found}, wanted {self.wanted}"


def written(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def of_the_floor(target: Target, floor_us: float, cold_us: float) -> Verdict:
    limit = round(target.limit_us(floor_us), 2)
    return Verdict(f"denoise at {written(target.shape)}, cold us at most", limit, cold_us, cold_us <= limit)


def of_torch(target: Target, cold_us: Mapping[str, float]) -> list[Verdict]:
    """Whether the kernels are faster than PyTorch by what was asked.

    Args:
        cold_us: times of ``kernels``, ``eager`` and ``torch.compile``.
    """
    eager, compiled = (round(cold_us[name] / cold_us["kernels"], 2) for name in ("eager", "torch.compile"))
    where = f"denoise at {written(target.shape)}"
    return [
        Verdict(f"{where}, times faster than eager PyTorch at least", EAGER_FACTOR, eager, eager >= EAGER_FACTOR),
        Verdict(
            f"{where}, times faster than torch.compile, above", COMPILED_FACTOR, compiled, compiled > COMPILED_FACTOR
        ),
    ]


def verdicts(timed: Mapping[str, Mapping[str, Any]]) -> list[Verdict]:
    """The verdicts on what ``times.timings`` returns for each shape, by the written shape."""
    found = [(target, timed[written(target.shape)]) for target in TARGETS]
    return [
        of_the_floor(target, times["floor_us"], times["denoise"]["greedy"]["both"]["cold_us"]["median"])
        for target, times in found
    ]

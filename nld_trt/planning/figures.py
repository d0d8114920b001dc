# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Speeds that were published or measured on GPUs, to fit and to check predictions with (``figures.csv``)."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Final, Literal

from nld_trt import names
from nld_trt.decode.auto.shapes import of_mean
from nld_trt.model.releases import preset
from nld_trt.planning.forward import OVERHEADS, parts_of, product_seconds
from nld_trt.planning.platform import gpu_platform
from nld_trt.planning.products import ModelShape, Product
from nld_trt.planning.release_shapes import of_geometry

_FILE: Final = Path(__file__).with_name("figures.csv")

# served: output of a server. pre-release: of NVIDIA's first one. forward and product: times of one of them.
Group = Literal["served", "pre-release", "forward", "product", "engine"]


@dataclass(frozen=True)
class Figure:
    """One speed, as it was published or measured.

    Attributes:
        tokens_per_round: acceptance length at blocks of 32 of the workload; None where nothing is accepted.
        value: tokens/s of all users, or a time in ``unit``.
    """

    model: str
    platform: str
    precision: str
    mode: str
    block_length: int
    users: int
    context: int
    tokens_per_round: float | None
    value: float
    unit: str
    stack: str
    group: Group
    source: str

    @property
    def forwards(self) -> int:
        """Forwards that the time is of."""
        return 2 if self.mode == names.LINEAR else 1

    @cached_property
    def seconds(self) -> float:
        """The time of a round, a forward or a product."""
        if self.unit == "ms":
            return self.value * 1e-3
        if self.unit == "us":
            return self.value * 1e-6
        tokens = 1.0
        if self.tokens_per_round is not None:
            tokens = of_mean(self.tokens_per_round).expected(self.block_length)
        return tokens * self.users / self.value

    @property
    def shape(self) -> ModelShape:
        return replace(of_geometry(self.model, preset(self.model)), precision=self.precision)

    @cached_property
    def lawful(self) -> float:
        """Seconds that the law of products gives, without any overhead."""
        return self._terms[0]

    @cached_property
    def units(self) -> Mapping[str, float]:
        """Seconds for each unit of an overhead."""
        return self._terms[1]

    @cached_property
    def _terms(self) -> tuple[float, Mapping[str, float]]:
        platform, shape, times = gpu_platform(self.platform), self.shape, self.forwards
        if self.group == "product":
            gate_up = Product(2 * shape.intermediate, shape.hidden, self.precision)
            return product_seconds(platform, gate_up, self.block_length * self.users), dict.fromkeys(OVERHEADS, 0.0)
        parts = parts_of(platform, shape, self.users, self.block_length, self.context)
        units = {name: times * seconds for name, seconds in parts.units.items()}
        if self.group == "pre-release":
            units |= {"server_round": times * 1e-3, "server_row": times * self.users * 1e-3}
        return times * parts.products, units


@cache
def figures() -> tuple[Figure, ...]:
    """All of them, in the order of the file."""
    lines = [line for line in _FILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return tuple(
        Figure(
            **{
                **row,
                **{name: int(row[name]) for name in ("block_length", "users", "context")},
                "tokens_per_round": float(row["tokens_per_round"]) if row["tokens_per_round"] else None,
                "value": float(row["value"]),
            }  # type: ignore[arg-type]
        )
        for row in csv.DictReader(lines)
    )

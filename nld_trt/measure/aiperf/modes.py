# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Which modes of a server can be measured: each is asked for once, since only the server knows its engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nld_trt import names
from nld_trt.errors import InputError, OperationError
from nld_trt.measure.aiperf.endpoint import Endpoint, refusal
from nld_trt.measure.sweep.point import Grid, Point
from nld_trt.measure.sweep.settings import SweepSettings
from nld_trt.measure.variant import VARIANTS

# In the place of a mode, of a server that has none.
UNNAMED: Final = "default"
_NOT_READY: Final = (429, 502, 503, 504)


@dataclass(frozen=True)
class Prober:
    """Asks a server for a token in each way that is to be measured.

    Attributes:
        server: the server in words, for messages.
    """

    endpoint: Endpoint
    model: str
    server: str

    def grid(self, settings: SweepSettings) -> Grid:
        """Return the points that can be measured, ordered by mode first.

        Raises:
            InputError: a mode that was named cannot be measured at all, or the server has no modes.
            OperationError: the server is not ready.
        """
        _check(settings)
        named = None if settings.modes is None else [each.strip() for each in settings.modes.split(",")]
        told, mode = self._ask({})
        if told is not None:
            raise InputError(f"the server at {self.server} refused a request to {self.model}: {told}")
        if mode is None:
            return self._without_modes(settings, named)
        points: list[Point] = []
        left_out: dict[str, str] = {}
        for name in names.SERVED_MODES if named is None else dict.fromkeys(named):
            found, problems = self._lengths(name, settings)
            if named is not None and not found:
                reason = next(iter(problems.values()))
                raise InputError(f"the server at {self.server} cannot decode in mode {name}: {reason}")
            left_out |= problems
            level = _threshold(name, settings)
            points += [Point(name, length, level, *load) for length in found for load in settings.loads]
        return Grid(tuple(points), left_out)

    def _without_modes(self, settings: SweepSettings, named: Sequence[str] | None) -> Grid:
        for flag, given in (("--modes", named), ("--block-length", settings.block_lengths)):
            if given is not None:
                raise InputError(
                    f"{flag} is for servers of nld-trt: answers of the one at {self.server} do not say how they "
                    "were decoded",
                    fix=f"Leave {flag} out, and the server is measured as it is.",
                )
        return Grid(tuple(Point(UNNAMED, None, None, *load) for load in settings.loads), {})

    def _lengths(self, name: str, settings: SweepSettings) -> tuple[list[int | None], dict[str, str]]:
        """Return the block lengths that the mode can be measured at, and the server's reason for each other one."""
        lengths = [None] if settings.block_lengths is None or name in (names.AR, names.AUTO) else settings.block_lengths
        found: list[int | None] = []
        problems: dict[str, str] = {}
        for length in dict.fromkeys(lengths):
            point = Point(name, length, _threshold(name, settings), 1)
            asked = fields(point)
            told, mode = self._ask(asked)
            if told is None and mode not in (None, asked["mode"]):
                told = f"it decodes such requests in {mode}"
            if told is None and mode is not None:
                found.append(length)
            else:
                problems[name if length is None else f"{name}_b{length}"] = told or "its answer does not say the mode"
        return found, problems

    def _ask(self, more: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """Return the reason of a refusal, and the mode that an answer names."""
        status, body = self.endpoint.complete(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": "Hello"}],
                "max_completion_tokens": 1,
                "temperature": 0,
                **more,
            }
        )
        if status in _NOT_READY:
            raise OperationError(f"the server at {self.server} is not ready: {refusal(status, body)}")
        if status != 200:
            return refusal(status, body), None
        metrics = body.get("metrics") if isinstance(body, dict) else None
        mode = metrics.get("mode") if isinstance(metrics, dict) else None
        return None, mode if isinstance(mode, str) else None


def fields(point: Point) -> dict[str, Any]:
    """Return the fields of a request that is decoded as ``point`` says."""
    if point.variant == UNNAMED:
        return {}
    variant = VARIANTS.get(point.variant)
    found: dict[str, Any] = {"mode": point.variant if variant is None else variant.mode}
    if variant is not None and variant.mode in names.SPECULATIVE and not variant.lora:
        found["lora"] = False
    optional = {"block_length": point.block_length, "threshold": point.threshold}
    return found | {name: value for name, value in optional.items() if value is not None}


def _threshold(name: str, settings: SweepSettings) -> float | None:
    return settings.threshold if name == names.DIFFUSION else None


def _check(settings: SweepSettings) -> None:
    for flag, values in (("--block-length", settings.block_lengths or ()), ("--concurrency", settings.concurrency)):
        for value in values:
            if value < 1:
                raise InputError(f"{flag} has {value}; it must be at least 1")

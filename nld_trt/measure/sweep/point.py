# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The points of a sweep: which settings are measured, and the key that recognises one again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from nld_trt import names
from nld_trt.engine.session import EngineInfo
from nld_trt.errors import InputError
from nld_trt.measure.variant import Variant

# Fields of a point that are part of its key even where they are None.
_ALWAYS: Final = ("block_length", "threshold")


@dataclass(frozen=True)
class Workload:
    """The requests that every point of a sweep decodes.

    Attributes:
        prompts_sha256: identifies the prompts file.
        scripted: the source of the acceptance that was drawn in place of the engine's, in words; None for the engine's.
        name: of the workload, if it has one.
        requests_per_user: there are at least so many requests for each one in flight; None for ``requests`` alone.
    """

    prompts_name: str
    prompts_sha256: str
    requests: int
    max_new_tokens: int
    ignore_eos: bool
    warmup: int
    repeats: int
    scripted: str | None = None
    name: str | None = None
    requests_per_user: int | None = None

    def requests_at(self, concurrency: int) -> int:
        """The requests of a repeat of a point with so many in flight."""
        return max(self.requests, (self.requests_per_user or 0) * concurrency)

    @property
    def title(self) -> str:
        """Its name, or that of its prompts."""
        return self.name or self.prompts_name


@dataclass(frozen=True)
class Point:
    """One combination of settings.

    Attributes:
        block_length: None if the mode has no blocks.
        concurrency: requests in flight: always so many, or at most so many if they arrive at a rate.
        request_rate: requests per second that arrive as a Poisson process; None for a closed loop.
    """

    variant: str
    block_length: int | None
    threshold: float | None
    concurrency: int
    request_rate: float | None = None

    @property
    def label(self) -> str:
        block = f"_b{self.block_length}" if self.block_length is not None else ""
        level = f"_t{self.threshold:g}" if self.threshold is not None else ""
        rate = f"_r{self.request_rate:g}" if self.request_rate is not None else ""
        return f"{self.variant}{block}{level}_c{self.concurrency}{rate}"

    def key(self, workload: Workload, engine_identity: str) -> str:
        """Return a hash of all that the result depends on; a finished point with this key is not measured again."""
        # What is None was not asked for, so that a setting that is new leaves the keys of earlier results as they are.
        settings, asked = asdict(self), asdict(workload)
        settings = {name: value for name, value in settings.items() if value is not None or name in _ALWAYS}
        asked = {name: value for name, value in asked.items() if value is not None}
        values = [settings, asked, engine_identity]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Grid:
    """The points that can be measured. ``left_out`` has a reason for each setting that cannot be."""

    points: tuple[Point, ...]
    left_out: Mapping[str, str]


def grid(
    variants: Sequence[Variant],
    block_lengths: Sequence[int] | None,
    threshold: float | None,
    concurrencies: Sequence[int],
    info: EngineInfo,
    *,
    named: bool = True,
    rates: Sequence[float] | None = None,
) -> Grid:
    """Return every combination, ordered by mode first; ar has one point per concurrency, whatever the block lengths.

    Args:
        block_lengths: None means each mode's own.
        rates: requests per second; None for closed loops.
        named: the user named the variants, so it is an error if one of them cannot be measured at all.

    Raises:
        InputError: a value that the engine was not built for, or a variant that cannot be measured at all.
    """
    _check(block_lengths, concurrencies, info)
    loads = [(count, rate) for count in concurrencies for rate in rates or (None,)]
    points: list[Point] = []
    left_out: dict[str, str] = {}
    for variant in variants:
        lengths, problems = _lengths(variant, block_lengths, info)
        if named and not lengths:
            raise next(iter(problems.values()))
        left_out |= {f"{variant.name}_b{length}": problem.what for length, problem in problems.items()}
        level = threshold if variant.mode == names.DIFFUSION else None
        points += [Point(variant.name, length, level, *load) for length in lengths for load in loads]
    return Grid(tuple(points), left_out)


def _check(block_lengths: Sequence[int] | None, concurrencies: Sequence[int], info: EngineInfo) -> None:
    """Refuse what the engine cannot do in any mode."""
    for flag, values, most, build_flag in (
        ("--block-length", block_lengths or (), info.limits.max_block_length, "--block-length"),
        ("--concurrency", concurrencies, info.limits.max_batch_size, "--max-batch-size"),
    ):
        for value in values:
            if not 1 <= value <= most:
                larger = f", or rebuild with nld-trt build {build_flag} {value}" if value > most else ""
                raise InputError(
                    f"{flag} has {value}; the engine was built for 1 to {most}", fix=f"Leave it out{larger}."
                )


def _lengths(
    variant: Variant, asked: Sequence[int] | None, info: EngineInfo
) -> tuple[list[int | None], dict[int | None, InputError]]:
    """Return the block lengths that the variant has in this engine, and an error for each other one."""
    lengths: dict[int | None, None] = {}
    problems: dict[int | None, InputError] = {}
    for length in [None] if asked is None else asked:
        try:
            lengths[variant.block_length(info, length)] = None
        except InputError as problem:
            problems[length] = problem
    return list(lengths), problems

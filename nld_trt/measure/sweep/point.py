# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The points of a sweep: which settings are measured, and the key that recognises one again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from nld_trt import names
from nld_trt.engine.session import EngineInfo
from nld_trt.errors import InputError
from nld_trt.measure.variant import Variant


@dataclass(frozen=True)
class Workload:
    """The requests that every point of a sweep decodes. ``prompts_sha256`` identifies the prompts file."""

    prompts_name: str
    prompts_sha256: str
    requests: int
    max_new_tokens: int
    ignore_eos: bool
    warmup: int
    repeats: int


@dataclass(frozen=True)
class Point:
    """One combination of settings. ``block_length`` is None if the mode has no blocks."""

    variant: str
    block_length: int | None
    threshold: float | None
    concurrency: int

    @property
    def label(self) -> str:
        block = f"_b{self.block_length}" if self.block_length is not None else ""
        level = f"_t{self.threshold:g}" if self.threshold is not None else ""
        return f"{self.variant}{block}{level}_c{self.concurrency}"

    def key(self, workload: Workload, engine_identity: str) -> str:
        """Return a hash of all that the result depends on; a finished point with this key is not measured again."""
        values = [asdict(self), asdict(workload), engine_identity]
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
) -> Grid:
    """Return every combination, ordered by mode first; ar has one point per concurrency, whatever the block lengths.

    Args:
        block_lengths: None means each mode's own.
        named: the user named the variants, so it is an error if one of them cannot be measured at all.

    Raises:
        InputError: a value that the engine was not built for, or a variant that cannot be measured at all.
    """
    _check(block_lengths, concurrencies, info)
    points: list[Point] = []
    left_out: dict[str, str] = {}
    for variant in variants:
        lengths, problems = _lengths(variant, block_lengths, info)
        if named and not lengths:
            raise next(iter(problems.values()))
        left_out |= {f"{variant.name}_b{length}": problem.what for length, problem in problems.items()}
        level = threshold if variant.mode == names.DIFFUSION else None
        points += [Point(variant.name, length, level, count) for length in lengths for count in concurrencies]
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

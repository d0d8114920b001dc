# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The points of a sweep: which settings are measured, and the key that recognises one again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from nld_trt.decode.variant import Variant
from nld_trt.engine.session import EngineInfo
from nld_trt.errors import InputError
from nld_trt.graph.contract import Limits


@dataclass(frozen=True)
class Workload:
    """What every point of a sweep decodes. ``prompts_sha256`` identifies the prompt file."""

    prompts_name: str
    prompts_sha256: str
    requests: int
    max_new_tokens: int
    ignore_eos: bool
    warmup: int
    repeats: int


@dataclass(frozen=True)
class Point:
    """One setting. ``block_length`` is None where the mode has no blocks."""

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
        """Hash of all that determines the measurement; a finished point with this key is not measured again."""
        values = [asdict(self), asdict(workload), engine_identity]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def grid(
    variants: Sequence[Variant],
    block_lengths: Sequence[int],
    threshold: float | None,
    concurrencies: Sequence[int],
    info: EngineInfo,
) -> list[Point]:
    """Every combination, modes outermost; ar appears once per concurrency, whatever the block lengths.

    Raises:
        InputError: a value that the engine was not built for.
    """
    limits = info.limits
    for length in block_lengths:
        if not 1 <= length <= limits.max_block_length:
            raise InputError(f"--block-length has {length}; the engine was built for 1 to {limits.max_block_length}")
    for count in concurrencies:
        if not 1 <= count <= limits.max_batch_size:
            raise InputError(
                f"--concurrency has {count}; the engine was built for batches of 1 to {limits.max_batch_size}",
                fix="Leave it out, or rebuild with a larger --max-batch-size.",
            )
    return [
        Point(variant.name, length, threshold if variant.mode == "diffusion" else None, count)
        for variant in variants
        for length in _lengths(variant, block_lengths, limits)
        for count in concurrencies
    ]


def _lengths(variant: Variant, block_lengths: Sequence[int], limits: Limits) -> Sequence[int | None]:
    """Those that the mode has: none in AR, and only what the engine was built for in quadratic mode."""
    if variant.mode == "ar":
        return (None,)
    if variant.mode == "quadratic":
        return [length for length in block_lengths if length <= limits.max_quadratic_length]
    return block_lengths

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The memory traffic of keys and values in a compiled plan, from the compiler's listing.

Attention of one layer reads the caches where they are, or a copy of the attended slots that a kernel makes before. A
slot that is read in place crosses memory once; a copied one is read, written, and read by attention. Everything else is
a fault: a copy with keys and values repeated for the query heads that share them, one as long as the caches, or one of
another copy.

A listing has the shape of a copy and not how its kernel reads the cache. TensorRT for RTX keeps the CUDA source of its
kernels in the plan, so that is looked up there: a transposing kernel goes through all of its input, whatever it writes,
in tiles.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.trt.listing import EngineListing, Kernel, Operand
from nld_trt.graph import contract
from nld_trt.graph.contract import Phase
from nld_trt.graph.precision import PRECISIONS
from nld_trt.model.config import ModelConfig

PARTS = ("key", "value")
# How often a slot crosses memory.
_IN_PLACE, _COPIED = 1, 3
_RUN_TIME = -1

# The first lines of a transposing kernel: the tiles of its input along each axis, as (size + tile - 1) / tile.
_TILES = re.compile(rb"// tile_space_dims\n((?:.* = \(\S+ \+ \d+ - 1\) / \d+;\n)+)")


@dataclass(frozen=True)
class CacheTraffic:
    """What attention costs in one phase, all layers together.

    Attributes:
        attended: the least and the most slots per row that a forward attends to.
        crossings: how often an attended slot crosses memory, once for each layer and part.
        slot_bytes: of keys and values of one slot in all layers.
        mask_bytes: read with each slot by all layers, for one row of the widest forward.
    """

    attended: tuple[int, int]
    crossings: Sequence[int]
    slot_bytes: int
    mask_bytes: int
    problems: Sequence[str] = field(default=())

    @property
    def ratio(self) -> float:
        """Bytes of the traffic over those of keys and values in the attended slots."""
        return sum(self.crossings) / len(self.crossings) + self.mask_bytes / self.slot_bytes

    def to_dict(self) -> dict[str, Any]:
        return {
            "attended_slots": list(self.attended),
            "read_in_place": all(count == _IN_PLACE for count in self.crossings),
            "bytes_per_slot": round(self.ratio * self.slot_bytes),
            "of_cached_bytes": round(self.ratio, 3),
        }


def cache_traffic(
    engine: EngineListing,
    fused: Mapping[Phase, Sequence[Kernel]],
    content: bytes | mmap.mmap,
    config: ModelConfig,
    plan: BuildPlan,
) -> dict[Phase, CacheTraffic]:
    """The traffic of every phase, of the attentions that write the caches.

    Those after them are of a head's chain of drafts. They read a copy of one layer's slots that grows with the chain.

    Args:
        fused: the attention kernel of each layer, in order, by phase; then those of a chain.
        content: of the plan.
    """
    return {
        phase: _Phase(engine, index, phase, fused[phase][: config.cached_layers], content, config, plan).traffic()
        for index, phase in enumerate(plan.limits.phases)
    }


@dataclass(frozen=True)
class _Phase:
    engine: EngineListing
    profile: int
    phase: Phase
    attentions: Sequence[Kernel]
    content: bytes | mmap.mmap
    config: ModelConfig
    plan: BuildPlan

    def traffic(self) -> CacheTraffic:
        least, _, most = self._ranges["attended"]
        found = [
            (attention, *self._crossings(attention, f"present_{part}_{layer}"))
            for layer, attention in enumerate(self.attentions)
            for part in PARTS
        ]
        element = PRECISIONS[self.plan.precision].bytes
        return CacheTraffic(
            (least, most),
            [crossings for _, crossings, _ in found],
            self.config.kv_elements_per_token * element,
            sum(self._mask_bytes(attention) for attention in self.attentions),
            [f"{self.phase} attention {problem}" for _, _, problem in found if problem],
        )

    @property
    def _ranges(self) -> Mapping[str, contract.Range]:
        return contract.axis_ranges(self.plan.limits, self.phase)

    def _crossings(self, attention: Kernel, cache: str) -> tuple[int, str]:
        """How often a slot of ``cache`` crosses memory, and what is wrong with that."""
        if cache in attention.inputs:
            return _IN_PLACE, ""
        copies = [
            (kernel, view)
            for kernel in self.engine.kernels
            if kernel.profile == self.profile and cache in kernel.inputs and cache not in _names(kernel.writes)
            for view in attention.reads
            if view.name in _names(kernel.writes)
        ]
        if not copies:
            return _COPIED, f"reads {cache} neither in place nor from a copy that is made of it"
        problems = [problem for kernel, view in copies for problem in self._copy_problems(kernel, view, cache)]
        return _COPIED, "; ".join(dict.fromkeys(problems))

    def _copy_problems(self, kernel: Kernel, copy: Operand, cache: str) -> Iterator[str]:
        """``copy`` is what attention reads of it. The kernel may write the same memory under another shape."""
        config, capacity = self.config, self.plan.limits.capacity
        least, _, most = self._ranges["attended"]
        expected = config.num_key_value_heads, most if least == most else _RUN_TIME, config.head_dim
        # With one query head for each of the cache, heads may be part of the batch: there is nothing to repeat.
        repeats = config.num_attention_heads > config.num_key_value_heads
        if (repeats and copy.shape[-3:] != expected) or (capacity in copy.shape and most != least):
            yield f"copies {cache} as {list(copy.shape)}, not as [rows, {', '.join(map(str, expected))}]"
        if reads_whole(self.content, kernel, capacity):
            yield f"copies {cache} with a kernel that reads all {capacity} slots: {kernel.tactic}"

    def _mask_bytes(self, attention: Kernel) -> int:
        """Bytes of the mask along the attended slots: one element for each new token and slot."""
        least, _, most = self._ranges["attended"]
        slots = most if least == most else _RUN_TIME
        widths = {self._ranges["width"][2], _RUN_TIME}
        masks = [each for each in attention.reads if each.shape[1:2] == (1,) and each.shape[-1:] == (slots,)]
        # What is left beside a mask of every new token are lists of the slots that a tile of queries sees.
        elements = [self._ranges["width"][2] * each.element_bytes for each in masks if each.shape[-2] in widths]
        return max(elements, default=0)


def _names(operands: Sequence[Operand]) -> set[str]:
    return {operand.name for operand in operands}


def reads_whole(content: bytes | mmap.mmap, kernel: Kernel, capacity: int) -> bool:
    """Whether the plan has a source of the kernel, by which it goes through its input in tiles along the capacity."""
    start = content.find(f" {kernel.tactic}(".encode())
    if not kernel.tactic or start < 0:
        return False
    source = content[start : content.find(b"\0", start)]
    tiles = _TILES.search(source)
    return tiles is not None and f"({capacity} + ".encode() in tiles[1]

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""How the kernels are launched, as functions of the sizes: the one place that plugins and benchmarks ask.

Sizes are integers, or TensorRT's symbolic expressions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from nld_trt.engine.trt.kernels.spec import LOGIT_STATISTICS, TENSORS, Operator
from nld_trt.errors import InputError
from nld_trt.graph.step.tensors import CANDIDATES
from nld_trt.model.config import MAX_EOS_IDS

# As in plugins/logit_statistics.h and plugins/block_decision.h.
THREADS = 256
DECISION_THREADS = 512
WARP = 32
CHUNK = 8192
MAX_WIDTH = 256
PARTIAL_WORDS = 4

# What the kernels were written for, and a kernel that indexes with 32 bits can hold.
LIMITS: Mapping[str, tuple[int, int]] = {"batch": (1, 64), "width": (1, MAX_WIDTH), "vocab": (256, 131072)}

Size = TypeVar("Size")


def ceil_div(value: int, divisor: int) -> int:
    return -(-value // divisor)


@dataclass(frozen=True)
class Sizes(Generic[Size]):
    """B rows of W window slots; V logits of each, read in S splits."""

    batch: Size
    width: Size
    vocab: Size
    splits: Size

    def shape(self, tensor: str) -> tuple[Size | int, ...]:
        """Of one of TENSORS."""
        axes: dict[str, Size | int] = {
            "batch": self.batch,
            "window": self.width,
            "vocab": self.vocab,
            "candidates": CANDIDATES,
            "eos_ids": MAX_EOS_IDS,
            "splits": self.splits,
            "partial_words": PARTIAL_WORDS,
        }
        return tuple(axes[name] for name in TENSORS[tensor].axes)

    def scalars(self, operator: Operator, mask_token_id: int) -> tuple[Size | int, ...]:
        """Values of the operator's scalars."""
        values: dict[str, Size | int] = {"width": self.width, "vocab": self.vocab, "mask_token_id": mask_token_id}
        return tuple(values[name] for name in operator.scalars)


@dataclass(frozen=True)
class Launch(Generic[Size]):
    """Blocks in each direction, threads of a block, bytes of shared memory beyond what the kernel declares."""

    grid: tuple[Size | int, Size | int, Size | int]
    threads: int
    shared_bytes: int = 0


def launch(operator: Operator, sizes: Sizes[Size]) -> Launch[Size]:
    """The statistics pass has a block per split, slot and row; a decision has a block per row.

    Splits depend on the vocabulary alone, so that what a row gets does not depend on its batch.
    """
    if operator == LOGIT_STATISTICS:
        return Launch((sizes.splits, sizes.width, sizes.batch), THREADS)
    return Launch((sizes.batch, 1, 1), DECISION_THREADS)


def checked_sizes(batch: int, width: int, vocab: int) -> Sizes[int]:
    """Sizes that the kernels take.

    Raises:
        InputError: one is outside LIMITS.
    """
    check_sizes({"batch": batch, "width": width, "vocab": vocab})
    return Sizes(batch, width, vocab, ceil_div(vocab, CHUNK))


def check_sizes(sizes: Mapping[str, int]) -> None:
    """Refuse sizes, by their names in LIMITS, that the kernels do not take.

    Raises:
        InputError: one is outside LIMITS.
    """
    for name, value in sizes.items():
        low, high = LIMITS[name]
        if not low <= value <= high:
            raise InputError(
                f"the decode kernels were asked for a {name} of {value}: they take {low} to {high}",
                fix=_FIXES[name],
            )


_FIXES: Mapping[str, str] = {
    "batch": "Build with a smaller --max-batch-size, or with --no-plugins: standard operators have no such limit.",
    "width": "Build with a smaller --block-length or --quadratic-length, or with --no-plugins: standard operators have "
    "no such limit.",
    "vocab": "Build with --no-plugins: standard operators have no such limit.",
}

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The grid and the block of each kernel, as functions of the sizes, for the plugins and the benchmark alike.

Sizes are integers, or TensorRT's symbolic expressions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from nld_trt.engine.gpu.kernels.spec import ADVANCE, DECODE_STEP, LOGIT_STATISTICS, TENSORS, Operator
from nld_trt.errors import InputError
from nld_trt.graph.step.tensors import CANDIDATES
from nld_trt.model.config import MAX_EOS_IDS

# The same constants as in plugins/logit_statistics.h and plugins/block_decision.h.
THREADS = 256
DECISION_THREADS = 512
WARP = 32
CHUNK = 8192
MAX_WIDTH = 256
PARTIAL_WORDS = 4

# The sizes that the kernels were written for, all of which 32-bit indices can address.
LIMITS: Mapping[str, tuple[int, int]] = {"batch": (1, 64), "width": (1, MAX_WIDTH), "vocab": (256, 131072)}

Size = TypeVar("Size")


def ceil_div(value: int, divisor: int) -> int:
    return -(-value // divisor)


@dataclass(frozen=True)
class Sizes(Generic[Size]):
    """The sizes of a step: B rows of W window slots, each with V logits that are read in S splits.

    An operator that reads no logits needs neither of the last two.
    """

    batch: Size
    width: Size
    vocab: Size | int = 0
    splits: Size | int = 0

    def shape(self, tensor: str) -> tuple[Size | int, ...]:
        """The shape of one of TENSORS."""
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
        """The values of the operator's scalars, in the kernel's order."""
        values: dict[str, Size | int] = {"width": self.width, "vocab": self.vocab, "mask_token_id": mask_token_id}
        return tuple(values[name] for name in operator.scalars)


@dataclass(frozen=True)
class Launch(Generic[Size]):
    """The blocks in each direction and the threads of a block. No kernel takes dynamic shared memory."""

    grid: tuple[Size | int, Size | int, Size | int]
    threads: int


def launch(operator: Operator, sizes: Sizes[Size]) -> Launch[Size]:
    """The launch of an operator. The statistics pass has a block per split, slot and row; the others have one per row.

    The splits depend on the vocabulary alone, so that a row's result does not depend on its batch.
    """
    if operator == LOGIT_STATISTICS:
        return Launch((sizes.splits, sizes.width, sizes.batch), THREADS)
    return Launch((sizes.batch, 1, 1), _THREADS_OF_A_ROW[operator.name])


_THREADS_OF_A_ROW: Mapping[str, int] = {DECODE_STEP.name: DECISION_THREADS, ADVANCE.name: WARP}


def checked_sizes(batch: int, width: int, vocab: int) -> Sizes[int]:
    """The sizes of a step, after a check that the kernels take them.

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

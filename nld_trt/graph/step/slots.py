# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The window slots that are sampled, taken out of the batch and put back. All other slots get their most likely token.

Where every row is greedy, one slot is taken out and gets its greedy token again. A compiled engine then spends on
sampling what one slot costs. Its graph has no branch that could skip this, because a plan with branches may not be
capturable in a CUDA graph. The graph for ONNX Runtime has a branch and skips it.

Shapes: B rows, W window tokens, V vocabulary, K candidates, N sampled slots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nld_trt.graph.tape import Dialect, Value, minimum


def only_if(
    dialect: Dialect, rows: Value, then: Callable[[], Sequence[Value]], otherwise: Callable[[], Sequence[Value]]
) -> Sequence[Value]:
    """What ``then`` records. Where the runtime has branches, it is computed only if one of ``rows`` [B] is true.

    Args:
        otherwise: the same values for the case that no row is.
    """
    return then() if dialect == "tensorrt" else rows.tape.when(rows.any(), then, otherwise)


class SampledSlots:
    """Values of the slots in the input ``sampled_slots`` [N] int32, which are row * W + slot."""

    def __init__(self, sampled_slots: Value, logits: Value) -> None:
        """``logits`` [B, W, V] give the width of a window."""
        self._cells = sampled_slots.cast(np.int64)
        width = logits.shape(1, 2)
        self._rows = self._cells // width
        self.places = self._cells - self._rows * width

    def rows(self, value: Value) -> Value:
        """[B] to [N]."""
        return value.take(self._rows)

    def cells(self, value: Value) -> Value:
        """[B, W] to [N]."""
        return value.reshape([-1]).take(self._cells)

    def following_cells(self, value: Value) -> Value:
        """[B, W] to [N]: of the slot after each. The caller knows whether that one belongs to the same row."""
        return value.reshape([-1]).take(self._following(value))

    def following_lists(self, value: Value, size: int) -> Value:
        """[B, W, K] to [N, K]: of the slot after each."""
        return value.reshape([-1, size]).take(self._following(value))

    def vectors(self, value: Value, cells: Value | None = None) -> Value:
        """[B, W, V] to [N, V]; ``cells`` [N] int64 are other slots than the sampled ones."""
        tape, last = value.tape, value.shape(2, 3)
        shape = tape.op("Concat", tape.constant([-1], np.int64), last, axis=0)
        return value.reshape(shape).take(self._cells if cells is None else cells)

    def cells_at(self, places: Value) -> Value:
        """[N]: the slots of the same rows at ``places`` [N]."""
        return self._cells - self.places + places

    def put_back(self, value: Value, sampled: Value) -> Value:
        """``value`` [B, W] with ``sampled`` [N] in their slots."""
        flat = value.tape.op("ScatterElements", value.reshape([-1]), self._cells, sampled, axis=0)
        return flat.reshape(value.shape())

    def put_lists_back(self, value: Value, sampled: Value, size: int) -> Value:
        """``value`` [B, W, K] with ``sampled`` [N, K] in their slots."""
        index = self._cells.column()
        return value.tape.op("ScatterND", value.reshape([-1, size]), index, sampled).reshape(value.shape())

    def _following(self, value: Value) -> Value:
        count = value.tape.op("ReduceProd", value.shape(0, 2), keepdims=0)
        return minimum(self._cells + 1, count - 1)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The window slots whose tokens are not simply the likeliest ones, taken out of the batch and put back.

Where every row is greedy there is one such slot, which gets its greedy token again: a compiled engine then spends on
drawing what one slot costs. It has no branches, because a plan with branches is not sure to be capturable in a CUDA
graph. ONNX Runtime has a branch and does not spend that either.

Shapes: B rows, W window tokens, V vocabulary, K candidates, N drawn slots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from onnx import TensorProto

from nld_trt.graph.network.linear import Dialect
from nld_trt.graph.step.scores import any_row
from nld_trt.graph.tape import Tape


def only_if(
    tape: Tape,
    dialect: Dialect,
    rows: str,
    then: Callable[[Tape], Sequence[str]],
    otherwise: Callable[[Tape], Sequence[str]],
    *,
    elements: Sequence[int],
) -> Sequence[str]:
    """What ``then`` records; computed only if one of ``rows`` [B] is true, where the runtime can leave it out.

    Args:
        otherwise: the same values for the case that no row is.
        elements: ONNX element types of the values.
    """
    if dialect == "tensorrt":
        return then(tape)
    return tape.when(any_row(tape, rows), then, otherwise, elements=elements)


class DrawnSlots:
    """Values of the slots in the input ``drawn_slots`` [N] int32, which are row * W + slot."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self._cells = tape.op("Cast", "drawn_slots", to=TensorProto.INT64)
        width = tape.op("Shape", "logits", start=1, end=2)
        self._rows = tape.op("Div", self._cells, width)
        self.places = tape.op("Sub", self._cells, tape.op("Mul", self._rows, width))

    def rows(self, value: str) -> str:
        """[B] to [N]."""
        return self.tape.op("Gather", value, self._rows, axis=0)

    def cells(self, value: str) -> str:
        """[B, W] to [N]."""
        return self.tape.op("Gather", self._flat(value, [-1]), self._cells, axis=0)

    def following_cells(self, value: str) -> str:
        """[B, W] to [N]: of the slot behind each. Whoever asks knows whether it belongs to the same row."""
        return self.tape.op("Gather", self._flat(value, [-1]), self._following(value), axis=0)

    def following_lists(self, value: str, size: int) -> str:
        """[B, W, K] to [N, K]: of the slot behind each."""
        return self.tape.op("Gather", self._flat(value, [-1, size]), self._following(value), axis=0)

    def vectors(self, value: str, cells: str | None = None) -> str:
        """[B, W, V] to [N, V]; ``cells`` [N] int64 are other slots than the drawn ones."""
        last = self.tape.op("Shape", value, start=2, end=3)
        shape = self.tape.op("Concat", self.tape.constant([-1], np.int64), last, axis=0)
        return self.tape.op("Gather", self.tape.op("Reshape", value, shape), cells or self._cells, axis=0)

    def cells_at(self, places: str) -> str:
        """[N]: the slots of the same rows at ``places`` [N]."""
        return self.tape.op("Add", self.tape.op("Sub", self._cells, self.places), places)

    def put_back(self, value: str, drawn: str) -> str:
        """``value`` [B, W] with ``drawn`` [N] in its place."""
        flat = self.tape.op("ScatterElements", self._flat(value, [-1]), self._cells, drawn, axis=0)
        return self.tape.op("Reshape", flat, self.tape.op("Shape", value))

    def put_lists_back(self, value: str, drawn: str, size: int) -> str:
        """``value`` [B, W, K] with ``drawn`` [N, K] in its place."""
        index = self.tape.op("Unsqueeze", self._cells, self.tape.constant([1], np.int64))
        flat = self.tape.op("ScatterND", self._flat(value, [-1, size]), index, drawn)
        return self.tape.op("Reshape", flat, self.tape.op("Shape", value))

    def _flat(self, value: str, shape: Sequence[int]) -> str:
        return self.tape.op("Reshape", value, self.tape.constant(shape, np.int64))

    def _following(self, value: str) -> str:
        count = self.tape.op("ReduceProd", self.tape.op("Shape", value, start=0, end=2), keepdims=0)
        one = self.tape.constant(1, np.int64)
        return self.tape.op("Min", self.tape.op("Add", self._cells, one), self.tape.op("Sub", count, one))

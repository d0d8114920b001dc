# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Where the small bindings of a forward lie in one block of memory, and of the forward that follows it.

Forwards of one shape take turns between two sides. What one side hands on, the other reads: nothing is copied between
two forwards, and the results of one stay while the next runs. The order of the parts makes every transfer one piece:

    results 1 | carried inputs 0 | other inputs | results 0 | carried inputs 1

Side 0 is filled by the host (carried inputs 0 and other inputs) and gives back results 0 and what it wrote to carried
inputs 1; side 1 gives back results 1 and what it wrote to carried inputs 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt

from nld_trt.engine.session import Array, EngineInfo, step_sizes
from nld_trt.graph import contract
from nld_trt.graph.contract import Binding
from nld_trt.graph.precision import PRECISIONS

# What TensorRT wants of the addresses that it is given.
ALIGNMENT = 256


@dataclass(frozen=True)
class Slot:
    """Where a small binding lies."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    offset: int

    @property
    def size(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    @property
    def end(self) -> int:
        """Offset of what may follow."""
        return self.offset + -(-self.size // ALIGNMENT) * ALIGNMENT

    def view(self, memory: npt.NDArray[np.uint8]) -> Array:
        array: Array = memory[self.offset : self.offset + self.size].view(self.dtype).reshape(self.shape)
        return array


@dataclass(frozen=True)
class Side:
    """One of the two forwards: its bindings by name, and the piece of memory that its results are in."""

    inputs: Mapping[str, Slot]
    outputs: Mapping[str, Slot]
    results: slice


@dataclass(frozen=True)
class Arena:
    """The bindings of a shape.

    Attributes:
        given: the piece that the host fills, for side 0.
        size: in bytes.
    """

    sides: tuple[Side, Side]
    given: slice
    size: int

    @classmethod
    def lay_out(cls, info: EngineInfo, rows: int, width: int, window: int, draws: bool) -> Arena:
        sizes = step_sizes(info, rows, width, window, draws)
        carried = set(contract.CARRIED.values())
        inputs = [each for each in contract.bindings("input") if not each.per_layer]
        results = [
            each
            for each in contract.bindings("output", debug=info.debug)
            if not each.per_layer and each.carries is None
        ]
        end = 0

        def place(bindings: Iterable[Binding]) -> dict[str, Slot]:
            nonlocal end
            placed = {}
            for binding in bindings:
                activation = binding.dtype == "activation"
                dtype = PRECISIONS[info.precision].numpy_type if activation else np.dtype(binding.dtype)
                placed[binding.name] = Slot(tuple(sizes[axis] for axis in binding.axes), dtype, end)
                end = placed[binding.name].end
            return placed

        handed_on = [each for each in inputs if each.name in carried]
        results1, start = place(results), end
        carried0, carried1_end = place(handed_on), end
        others, middle = place(each for each in inputs if each.name not in carried), end
        results0 = place(results)
        carried1 = place(handed_on)

        def handing_on(carried: Mapping[str, Slot]) -> dict[str, Slot]:
            """Outputs in the place of the inputs that they become, in shapes of their own: a window may be narrower
            than the new tokens."""
            return {
                each.name: replace(carried[each.carries], shape=tuple(sizes[axis] for axis in each.axes))
                for each in contract.bindings("output")
                if each.carries is not None
            }

        outputs0, outputs1 = results0 | handing_on(carried1), results1 | handing_on(carried0)
        return cls(
            (
                Side(carried0 | others, outputs0, slice(middle, end)),
                Side(carried1 | others, outputs1, slice(0, carried1_end)),
            ),
            slice(start, middle),
            end,
        )

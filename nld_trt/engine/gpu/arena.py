# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The layout of one block of memory that holds the small bindings of a forward and of the one that follows it.

Forwards of one shape alternate between two sides. One side writes the carried inputs of the other: nothing is copied
between two forwards, and the results of one stay while the next runs. The order of the parts makes every transfer
between host and device one contiguous piece:

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

# TensorRT requires that the addresses of tensors are multiples of this.
ALIGNMENT = 256


@dataclass(frozen=True)
class Slot:
    """The place of a small binding in the block."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    offset: int

    @property
    def size(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    @property
    def end(self) -> int:
        """The offset at which the next binding may start."""
        return self.offset + -(-self.size // ALIGNMENT) * ALIGNMENT

    def view(self, memory: npt.NDArray[np.uint8]) -> Array:
        array: Array = memory[self.offset : self.offset + self.size].view(self.dtype).reshape(self.shape)
        return array


@dataclass(frozen=True)
class Side:
    """One of the two forwards: its bindings by name, and the range of the block that holds its results."""

    inputs: Mapping[str, Slot]
    outputs: Mapping[str, Slot]
    results: slice


@dataclass(frozen=True)
class Arena:
    """The layout of the bindings of one shape.

    Attributes:
        given: the range of the block that the host fills for side 0.
        size: of the block, in bytes.
    """

    sides: tuple[Side, Side]
    given: slice
    size: int

    @classmethod
    def lay_out(cls, info: EngineInfo, rows: int, width: int, window: int, samples: bool, attended: int) -> Arena:
        sizes = step_sizes(info, rows, width, window, samples, attended)
        carried = set(contract.CARRIED.values())
        inputs = [each for each in contract.bindings("input", config=info.config) if not each.per_layer]
        results = [
            each
            for each in contract.bindings("output", debug=info.debug, config=info.config)
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
                for each in contract.bindings("output", config=info.config)
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

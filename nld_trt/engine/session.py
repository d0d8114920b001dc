# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a running engine offers to the decode loop, whichever library runs it.

A session owns the K/V caches of a batch on the engine's device. One step is: take the buffers for a
shape and fill the inputs, or take those that the step before has prepared; launch, wait, read the outputs. Only a few
integers per row cross the border; the block x vocabulary logits never do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from nld_trt.graph import contract
from nld_trt.graph.contract import Limits
from nld_trt.model.config import ModelConfig
from nld_trt.model.generation import GenerationDefaults

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class EngineInfo:
    """What the decode loop must know about an engine.

    Attributes:
        has_ensemble: quadratic passes can verify with an ensemble.
        generation: the checkpoint's defaults for requests.
    """

    config: ModelConfig
    limits: Limits
    backend: str
    precision: str
    has_adapter: bool
    debug: bool = False
    has_ensemble: bool = False
    generation: GenerationDefaults = field(default_factory=GenerationDefaults)

    @property
    def default_block_length(self) -> int:
        """The checkpoint's, or the longest that the engine was built for."""
        return min(self.config.block_size, self.limits.max_block_length)


@dataclass(frozen=True)
class StepBuffers:
    """Host arrays of one forward, by binding name. They are reused: read outputs before the next step.

    Attributes:
        rows, width, window: sizes of the axes batch, width and window.
        draws: whether every window slot is a drawn one, or none is.
    """

    rows: int
    width: int
    window: int
    draws: bool
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]

    @classmethod
    def allocate(cls, info: EngineInfo, rows: int, width: int, window: int, draws: bool = False) -> StepBuffers:
        """Zeroed arrays for every binding of the contract but the caches, and the drawn slots."""
        sizes = step_sizes(info, rows, width, window, draws)

        def arrays(direction: contract.Direction) -> dict[str, Array]:
            return {
                binding.name: np.zeros(
                    [sizes[axis] for axis in binding.axes],
                    dtype=np.float32 if binding.dtype == "activation" else binding.dtype,
                )
                for binding in contract.bindings(direction, debug=info.debug)
                if not binding.per_layer
            }

        made = cls(rows, width, window, draws, arrays("input"), arrays("output"))
        made.fill_constants()
        return made

    @property
    def shape(self) -> tuple[int, int, int, bool]:
        """What :meth:`Session.step` was asked for."""
        return self.rows, self.width, self.window, self.draws

    def fill_constants(self) -> None:
        """Inputs that the shape alone decides."""
        slots = self.inputs["drawn_slots"]
        slots[:] = np.arange(slots.size)

    def successor(self) -> StepBuffers:
        """Arrays of the next forward: what either carries is an input of the other, the other inputs are shared."""
        assert self.width == self.window, "only passes whose every token has logits prepare the next ones"
        carried = {source: target for target, source in contract.CARRIED.items()}
        inputs = {name: self.outputs.get(carried.get(name, ""), array) for name, array in self.inputs.items()}
        outputs = {
            name: self.inputs[contract.CARRIED[name]] if name in contract.CARRIED else np.zeros_like(array)
            for name, array in self.outputs.items()
        }
        return StepBuffers(*self.shape, inputs, outputs)


def step_sizes(info: EngineInfo, rows: int, width: int, window: int, draws: bool) -> dict[str, int]:
    """Size of every axis but the caches'."""
    slots = rows * window if draws else 1
    return {"batch": rows, "width": width, "window": window, "slots": slots, **contract.fixed_axes(info.config)}


class Session(Protocol):
    """Caches for up to ``limits.max_batch_size`` rows, and the forwards on them."""

    info: EngineInfo
    # Whether forwards run on a device of their own while the host goes on.
    runs_ahead: bool

    @property
    def capacity(self) -> int:
        """Cache slots per row that are bound now."""

    def reserve(self, rows: int, capacity: int, *, empty: bool = False) -> None:
        """Make room for ``rows`` rows of ``capacity`` slots; what the caches hold is kept.

        Args:
            empty: no row holds anything, so caches much larger than this may shrink. Attention looks at
                every slot: without that, one long request would slow down all that follow.
        """

    def row_count(self, rows: int) -> int:
        """The number of rows of a forward for ``rows`` live ones.

        The further rows are empty, and a forward overwrites what their caches hold.
        """

    def step(self, rows: int, width: int, window: int, draws: bool = False) -> StepBuffers:
        """Buffers for a forward over the first ``rows`` cache rows, which the host fills after this call.

        Args:
            draws: some row has a temperature or an ensemble.
        """

    def launch(self, buffers: StepBuffers) -> None:
        """Start a forward: read ``buffers.inputs``, update the caches, fill ``buffers.outputs``."""

    def wait(self, buffers: StepBuffers) -> None:
        """Return once ``buffers.outputs`` can be read."""

    def follow(self, buffers: StepBuffers) -> StepBuffers:
        """Buffers for the next passes that a forward, launched before, prepares for its rows: nothing to fill.

        Their carried inputs (``contract.CARRIED``) are that forward's outputs and the others are its inputs. The
        forward's own outputs stay readable until the one after the next.
        """

    def clear_row(self, row: int) -> None:
        """Fill a row's cache with zeros: attention multiplies what its mask hides by 0, and NaN stays NaN."""

    def move_row(self, source: int, target: int) -> None:
        """Copy a row's cache over another row's, so that live rows stay a prefix."""


def execute(session: Session, buffers: StepBuffers) -> None:
    """Launch a forward and wait for it."""
    session.launch(buffers)
    session.wait(buffers)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The interface between a running engine and the decode loop, the same for every backend.

A session owns the KV caches of a batch on the engine's device. For one step, the decode loop takes the buffers of a
shape and fills the inputs, or takes buffers that the previous step has prepared; then it launches the forward, waits
for it and reads the outputs. Only a few integers per row are copied between host and device; the logits
[block, vocabulary] never are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from nld_trt.graph import contract
from nld_trt.graph.contract import Limits
from nld_trt.model.config import ModelConfig
from nld_trt.model.generation import GenerationDefaults

Array = npt.NDArray[np.generic]

# Rows, width, window, whether tokens are sampled, attended slots, first row: all that the shapes and the addresses of a
# forward depend on.
ShapeKey = tuple[int, int, int, bool, int, int]


@dataclass(frozen=True)
class EngineInfo:
    """The facts about an engine that the decode loop needs.

    Attributes:
        has_ensemble: whether quadratic passes can verify with an ensemble.
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
        """The checkpoint's block length, or the longest that the engine was built for if that is shorter.

        An engine whose prompts are seen in blocks has one length, for which it was built.
        """
        fixed = contract.prompt_block(self.config, self.limits)
        return fixed or min(self.config.block_size, self.limits.max_block_length)


@dataclass(frozen=True)
class StepBuffers:
    """The host arrays of one forward, by binding name. They are reused, so outputs must be read before the next step.

    Attributes:
        rows, width, window: sizes of the axes batch, width and window.
        samples: whether tokens are sampled, at every slot of the window.
        attended: the number of cache slots per row that attention reads.
        first: the first of the cache rows, which follow each other.
    """

    rows: int
    width: int
    window: int
    samples: bool
    attended: int
    first: int
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]

    @classmethod
    def allocate(
        cls, info: EngineInfo, rows: int, width: int, window: int, samples: bool, attended: int, first: int = 0
    ) -> StepBuffers:
        """Make zeroed arrays for every binding of the contract except the caches, and fill the constant inputs."""
        sizes = step_sizes(info, rows, width, window, samples, attended)

        def arrays(direction: contract.Direction) -> dict[str, Array]:
            return {
                binding.name: np.zeros(
                    [sizes[axis] for axis in binding.axes],
                    dtype=np.float32 if binding.dtype == "activation" else binding.dtype,
                )
                for binding in contract.bindings(direction, debug=info.debug, config=info.config)
                if not binding.per_layer
            }

        made = cls(rows, width, window, samples, attended, first, arrays("input"), arrays("output"))
        made.fill_constants()
        return made

    @property
    def shape(self) -> tuple[int, int, int, bool, int]:
        """The arguments of the :meth:`Session.step` call that these buffers are for."""
        return self.rows, self.width, self.window, self.samples, self.first

    @property
    def key(self) -> ShapeKey:
        return self.rows, self.width, self.window, self.samples, self.attended, self.first

    def fill_constants(self) -> None:
        """Fill the inputs that only depend on the shape."""
        for name in ("sampled_slots", "attended_slots"):
            slots = self.inputs[name]
            slots[:] = np.arange(slots.size)

    def successor(self) -> StepBuffers:
        """Make the buffers of the next forward.

        Carried outputs of either forward are inputs of the other one; the other inputs are shared.
        """
        assert self.width == self.window, "only passes whose every token has logits prepare the next ones"
        carried = {source: target for target, source in contract.CARRIED.items()}
        inputs = {name: self.outputs.get(carried.get(name, ""), array) for name, array in self.inputs.items()}
        outputs = {
            name: self.inputs[contract.CARRIED[name]] if name in contract.CARRIED else np.zeros_like(array)
            for name, array in self.outputs.items()
        }
        return StepBuffers(*self.key, inputs, outputs)


def step_sizes(info: EngineInfo, rows: int, width: int, window: int, samples: bool, attended: int) -> dict[str, int]:
    """Returns the size of every axis except those of the caches."""
    run_time = {
        "batch": rows,
        "width": width,
        "window": window,
        "slots": rows * window if samples else 1,
        "attended": attended,
    }
    return {**run_time, **contract.fixed_axes(info.config)}


class Session(Protocol):
    """The KV caches for up to ``limits.max_batch_size`` rows, and the forwards that use them."""

    info: EngineInfo
    # What the forwards run on.
    device: Literal["cpu", "gpu"]
    # Whether forwards run asynchronously on a device while the host continues.
    runs_ahead: bool

    @property
    def capacity(self) -> int:
        """The number of cache slots per row that are bound now."""

    def reserve(self, rows: int, capacity: int, *, held: int | None = None) -> None:
        """Grow the caches to ``rows`` rows of ``capacity`` slots. Cached keys and values are kept.

        Args:
            held: only the first ``held`` slots of every row hold something, so caches that are much larger than
                ``capacity`` may shrink. Attention may read every slot, so without this one long request would slow
                down all later ones. None means that all of them do.
        """

    @property
    def attended_lengths(self) -> tuple[int, ...]:
        """The numbers of slots for which forwards are prepared separately, ascending, up to the engine's capacity.

        A forward attends to the shortest of them that holds what was reserved last.
        """

    def row_count(self, rows: int) -> int:
        """Returns how many rows a forward for ``rows`` live rows has, which may be more.

        This is so for forwards from the first cache row on. The host gives the added rows something to do as well.
        """

    def chunk_width(self, tokens: int, most: int) -> int:
        """Returns how many tokens a forward that reads ``tokens`` tokens of prompts per row has, at most ``most``.

        They may be more than the prompts': forwards of few widths are prepared once.
        """

    def step(self, rows: int, width: int, window: int, samples: bool = False, first: int = 0) -> StepBuffers:
        """Returns buffers for a forward over ``rows`` cache rows from ``first`` on; no other row is read or written.

        The host fills the inputs after this call.

        Args:
            samples: some row samples its tokens, or verifies with an ensemble.
        """

    def launch(self, buffers: StepBuffers) -> None:
        """Start a forward, which reads ``buffers.inputs``, updates the caches and fills ``buffers.outputs``."""

    def wait(self, buffers: StepBuffers) -> None:
        """Wait until ``buffers.outputs`` can be read."""

    def follow(self, buffers: StepBuffers) -> StepBuffers:
        """Returns buffers for the passes after a forward that was launched. The forward fills them; the host does not.

        Their carried inputs (``contract.CARRIED``) are outputs of that forward, and their other inputs are its inputs.
        Its outputs can be read until the forward after the next is launched.
        """

    def clear_row(self, row: int) -> None:
        """Fill a row's cache with zeros. Attention multiplies masked values by 0, which would leave a NaN a NaN."""

    def copy_row(self, source: int, target: int, slots: int) -> None:
        """Copy the first ``slots`` slots of one row's cache to another row."""

    def swap_rows(self, one: int, other: int, slots: int) -> None:
        """Exchange the first ``slots`` slots of two rows' caches, so that rows that do the same follow each other."""


def execute(session: Session, buffers: StepBuffers) -> None:
    """Launch a forward and wait for it."""
    session.launch(buffers)
    session.wait(buffers)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A forward in PyTorch over the memory of a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nld_trt.engine.gpu.arena import Slot
from nld_trt.engine.gpu.executor import Caches
from nld_trt.engine.session import EngineInfo
from nld_trt.engine.torch.blocks import LayerCaches
from nld_trt.engine.torch.memory import view
from nld_trt.engine.torch.types import ACTIVATIONS, of_numpy

FINAL_HIDDEN = "final_hidden"


@dataclass(frozen=True)
class TorchForward:
    """A forward over one side of a shape.

    Attributes:
        inputs, outputs: the side's tensors, in the session's memory.
        caches: those of each layer, the rows of this forward.
        network: from inputs and caches to the outputs, by name.
    """

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    caches: Sequence[LayerCaches]
    network: Callable[[Mapping[str, Tensor], Sequence[LayerCaches]], Mapping[str, Tensor]]

    def can_be_captured(self) -> bool:
        return False

    def run(self) -> None:
        with torch.inference_mode():
            made = self.network(self.inputs, self.caches)
            for name, tensor in self.outputs.items():
                tensor.copy_(made[name])


def views(slots: Mapping[str, Slot], memory: int, device: torch.device) -> dict[str, Tensor]:
    """The small tensors of a side, in the session's memory at the address ``memory``."""
    return {name: view(memory + slot.offset, slot.shape, of_numpy(slot.dtype), device) for name, slot in slots.items()}


def layer_caches(caches: Caches, info: EngineInfo, rows: range, device: torch.device) -> list[LayerCaches]:
    """``rows`` of the caches of every layer that has some, as tensors on the session's memory."""
    dtype, shape = ACTIVATIONS[info.precision], (len(rows), *caches.row_shape)

    def cache(part: str, layer: int) -> Tensor:
        return view(caches.address(f"past_{part}_{layer}", rows.start), shape, dtype, device)

    return [LayerCaches(cache("key", layer), cache("value", layer)) for layer in range(info.config.cached_layers)]

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The network of a ``torch`` engine, written once over either family of building blocks.

Shapes: B rows, S new tokens, T = B · S, H hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import torch
import torch.nn.functional as F
from torch import Tensor

from nld_trt.engine.torch.blocks import Blocks, DraftAdapter, HeadNorms, LayerCaches, Layout, LinearLayer
from nld_trt.engine.torch.layout import HEAD_STACK, Part
from nld_trt.engine.torch.weights import EngineWeights
from nld_trt.engine.torch.writer import OUTPUT_BIAS
from nld_trt.model.config import ModelConfig


@dataclass(frozen=True)
class Layer:
    """One decoder layer: its stacks of linear layers, the weights of its norms, and its draft adapter if it has one."""

    input_norm: Tensor
    qkv: LinearLayer
    head_norms: HeadNorms | None
    o: LinearLayer
    adapter: DraftAdapter | None
    post_norm: Tensor
    gate_up: LinearLayer
    down: LinearLayer


@dataclass(frozen=True)
class Biased:
    """A linear layer with a bias [O]."""

    product: LinearLayer
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return self.product(x) + self.bias


@dataclass(frozen=True)
class Stack:
    """The parts of a stack, whose outputs follow each other."""

    parts: tuple[LinearLayer, ...]

    def __call__(self, x: Tensor) -> Tensor:
        if len(self.parts) == 1:
            return self.parts[0](x)
        return torch.cat([part(x) for part in self.parts], -1)


class Network(Generic[Layout]):
    """The weights of an engine, on the device, and the forward through them."""

    def __init__(self, weights: EngineWeights, config: ModelConfig, blocks: Blocks[Layout]) -> None:
        self.blocks = blocks
        self._embedding = weights.tensors["embedding"]
        self._final_norm = weights.tensors["final_norm"]
        self._layers = [self._layer(weights, f"layers.{index}.") for index in range(config.num_hidden_layers)]
        self.head = self._stack(weights, HEAD_STACK)

    def forward(
        self, inputs: Mapping[str, Tensor], caches: Sequence[LayerCaches], kept: dict[int, Tensor] | None = None
    ) -> tuple[Tensor, Layout]:
        """One forward over the rows' new tokens, whose keys and values it writes to the caches.

        Args:
            inputs: those of the step contract, on the device.
            caches: those of each layer.
            kept: is given the input [B, S, H] of each layer that it has a key for.

        Returns:
            The final hidden state [B, S, H], and the layout of the forward.
        """
        blocks, tokens = self.blocks, inputs["tokens"]
        layout = blocks.layout(inputs, caches[0])
        x = F.embedding(tokens.reshape(-1), self._embedding)
        normed = blocks.norm(x, self._layers[0].input_norm)
        followers = [*(layer.input_norm for layer in self._layers[1:]), self._final_norm]
        # A head that drafts has caches behind those of the layers.
        own = caches[: len(self._layers)]
        for index, (layer, cache, next_norm) in enumerate(zip(self._layers, own, followers, strict=True)):
            if kept is not None and index in kept:
                # Kernels may write the sum that follows over it.
                kept[index] = x.reshape(*tokens.shape, -1).clone()
            merged = blocks.attention(layer.qkv(normed), layout, cache, layer.head_norms)
            projected = layer.o(merged)
            if layer.adapter is not None:
                projected = blocks.add_draft(projected, merged, layer.adapter, layout)
            x, normed = blocks.add_norm(projected, x, layer.post_norm)
            x, normed = blocks.add_norm(layer.down(blocks.activate(layer.gate_up(normed))), x, next_norm)
        return normed.reshape(*tokens.shape, -1), layout

    def _layer(self, weights: EngineWeights, prefix: str) -> Layer:
        tensors = weights.tensors
        adapter = None
        if f"{prefix}lora_a" in tensors:
            adapter = DraftAdapter(tensors[f"{prefix}lora_a"], tensors[f"{prefix}lora_b"])
        norms: dict[str, Any] = {name: tensors[f"{prefix}{name}"] for name in ("input_norm", "post_norm")}
        stacks: dict[str, Any] = {
            name: self._stack(weights, f"{prefix}{name}") for name in ("qkv", "o", "gate_up", "down")
        }
        head_norms = None
        if f"{prefix}query_norm" in tensors:
            head_norms = HeadNorms(tensors[f"{prefix}query_norm"], tensors[f"{prefix}key_norm"])
        return Layer(adapter=adapter, head_norms=head_norms, **norms, **stacks)

    def _stack(self, weights: EngineWeights, name: str) -> LinearLayer:
        return Stack(tuple(self._part(part, _of(part.name, weights.tensors)) for part in weights.parts[name]))

    def _part(self, part: Part, tensors: dict[str, Tensor]) -> LinearLayer:
        product = self.blocks.linear(part, tensors)
        return Biased(product, tensors[OUTPUT_BIAS]) if part.has_bias else product


def _of(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a part, by the last part of their names."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The interface of the network's building blocks, of which there are two families.

``eager.EagerBlocks`` are PyTorch's operators, for any device. ``fused.FusedBlocks`` are kernels of our own, for GPUs.

Shapes: B rows, S new tokens, T = B · S, H hidden, Q query heads · head_dim, K key/value heads, C capacity, D head_dim,
I intermediate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from nld_trt.engine.torch.layout import Part

# Values that every layer uses, computed once per forward, in whatever form a family wants them.
Layout = TypeVar("Layout")
LinearLayer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LayerCaches:
    """The key and value caches of one layer, each [B, K, C, D]."""

    keys: Tensor
    values: Tensor


@dataclass(frozen=True)
class DraftAdapter:
    """The draft adapter of one layer: A [rank, Q] and scale · B [H, rank]."""

    lora_a: Tensor
    lora_b: Tensor


@dataclass(frozen=True)
class HeadNorms:
    """The weights [D] by which queries and keys are normed before rotary."""

    query: Tensor
    key: Tensor


class Blocks(Protocol, Generic[Layout]):
    """Building blocks of a decoder."""

    def layout(self, inputs: Mapping[str, Tensor], caches: LayerCaches) -> Layout:
        """Positions and masks from the integers of the rows.

        Args:
            inputs: those of the step contract.
            caches: of any layer.
        """

    def positions(self, layout: Layout) -> Tensor:
        """Absolute positions of the new tokens, [B, S] int64."""

    def linear(self, part: Part, tensors: Mapping[str, Tensor]) -> LinearLayer:
        """One part of a stack of linear layers: a function from [T, inputs] to [T, outputs].

        Args:
            tensors: the part's tensors, by the last part of their names.
        """

    def norm(self, x: Tensor, weight: Tensor) -> Tensor:
        """RMSNorm of x [T, H]."""

    def add_norm(self, x: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """x + residual [T, H], and RMSNorm of it."""

    def attention(self, qkv: Tensor, layout: Layout, caches: LayerCaches, norms: HeadNorms | None = None) -> Tensor:
        """Norm and rotate queries and keys, write the new keys and values to the caches, and attend.

        Args:
            qkv: [T, Q + 2 · K · D].
            norms: of each head of queries and keys; None where they are not normed.

        Returns:
            [T, Q].
        """

    def activate(self, gate_up: Tensor) -> Tensor:
        """SwiGLU: [T, 2 · I] to [T, I]."""

    def add_draft(self, projected: Tensor, x: Tensor, adapter: DraftAdapter, layout: Layout) -> Tensor:
        """The output projection [T, H] plus the adapter's branch of x [T, Q], for tokens that are drafted."""

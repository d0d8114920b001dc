# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The matrix products of a forward: sizes and precision of the weights that each of them reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from nld_trt import names

# Bits of a weight with its scales. INT4 in groups of 128 with a scale of 16 bits, FP4 in groups of 16 with one of 8.
BITS: Final[Mapping[str, float]] = {
    names.BF16: 16,
    names.FP16: 16,
    names.FP8: 8,
    names.INT4: 4 + 16 / 128,
    names.NVFP4: 4 + 8 / 16,
    names.W4A16_NVFP4: 4 + 8 / 16,
}
# Bytes of an element of activations, caches and layers that are not quantized: BF16 or FP16.
ELEMENT: Final = 2


@dataclass(frozen=True)
class Product:
    """Weights [outputs, inputs] that a forward reads once, and multiplies every new token with."""

    outputs: int
    inputs: int
    precision: str = names.BF16

    @property
    def bytes(self) -> float:
        return self.outputs * self.inputs * BITS[self.precision] / 8

    def flops(self, tokens: int) -> float:
        return 2.0 * tokens * self.outputs * self.inputs


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a network. Products that read the same input are one: q, k and v; gate and up.

    Attributes:
        name: for the user.
        precision: of the layers' weights.
        stored_products: the layers' products and how many of each, where a checkpoint's are not all of one precision.
        stored_bytes: of weights and adapter, where files say so.
        adapter_rank: of the draft adapter on o_proj; 0 without one.
    """

    name: str
    hidden: int
    intermediate: int
    layers: int
    vocabulary: int
    heads: int = 32
    kv_heads: int = 8
    head_size: int = 128
    precision: str = names.BF16
    head_precision: str = names.BF16
    stored_products: tuple[tuple[Product, int], ...] = ()
    stored_bytes: int | None = None
    adapter_rank: int = 128

    @cached_property
    def products(self) -> tuple[tuple[Product, int], ...]:
        """Each product of the layers, and how many of it there are."""
        return self.stored_products or tuple(
            (Product(*sizes, self.precision), self.layers) for sizes in self.layer_sizes
        )

    @property
    def layer_sizes(self) -> tuple[tuple[int, int], ...]:
        """Outputs and inputs of the products of a layer: q, k and v; o; gate and up; down."""
        query, key_value = self.heads * self.head_size, self.kv_heads * self.head_size
        return (
            (query + 2 * key_value, self.hidden),
            (self.hidden, query),
            (2 * self.intermediate, self.hidden),
            (self.hidden, self.intermediate),
        )

    @property
    def precisions(self) -> tuple[str, ...]:
        """Those of the layers, each once, quantized ones first."""
        found = dict.fromkeys(product.precision for product, _ in self.products)
        return tuple(sorted(found, key=lambda precision: BITS[precision]))

    @property
    def head(self) -> Product:
        return Product(self.vocabulary, self.hidden, self.head_precision)

    @property
    def kv_bytes(self) -> int:
        """Bytes of keys and values of one token, in all layers."""
        return 2 * self.kv_heads * self.head_size * self.layers * ELEMENT

    @cached_property
    def activation_bytes(self) -> float:
        """Bytes of one token's activations that go into and out of the products of all layers."""
        return sum((product.outputs + product.inputs) * count for product, count in self.products) * float(ELEMENT)

    @property
    def weight_bytes(self) -> float:
        """Of the engine: layers, head, embedding and adapter; norms are left out.

        A head that is the embedding is counted, too: only engines of ``torch`` do not store it a second time.
        """
        if self.stored_bytes is not None:
            return self.stored_bytes
        layers = sum(product.bytes * count for product, count in self.products)
        adapter = self.layers * self.adapter_rank * (self.hidden + self.heads * self.head_size) * ELEMENT
        return layers + self.head.bytes + self.vocabulary * self.hidden * ELEMENT + adapter

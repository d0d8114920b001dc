# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Linear layers that read the same input, joined to one matrix product.

Their weights stand one after another along the output features, so that the product's columns are the layers' outputs
and each number is computed as before. Layers are joined where nothing of their formats would have to change.

Shapes: O output features, I input features, G input features per group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nld_trt.graph.network.linear import QuantizedLinear, Recorder, float_linear, quantized_linear
from nld_trt.graph.network.prescale import Prescales
from nld_trt.graph.tape import Value
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.quantized.formats import Float32

# Formats whose layers can be joined: every row of a weight has scales of its own, or none. None is high precision.
JOINABLE: frozenset[str | None] = frozenset({None, "W4A16_AWQ"})


@dataclass(frozen=True)
class JoinedLinear:
    """Parts of a decoder layer that are computed as one product, which is called ``name``."""

    name: str
    parts: tuple[str, ...]

    def modules(self, prefix: str) -> tuple[str, ...]:
        """The modules of the parts, of the layer whose modules start with ``prefix``."""
        return tuple(f"{prefix}{part}" for part in self.parts)

    def is_possible(self, checkpoint: Checkpoint, layer: int, scales: Prescales) -> bool:
        """Whether all parts have one joinable format, and none needs its input multiplied by a scale of its own."""
        formats = [checkpoint.formats.get(module) for module in self.modules(f"encoder.layers.{layer}.")]
        algorithm = formats[0].algorithm.name if formats[0] else None
        same = all(each == formats[0] for each in formats)
        return algorithm in JOINABLE and same and not set(self.parts) & set(scales.explicit)

    def record(self, recorder: Recorder, checkpoint: Checkpoint, layer: int, x: Value, scales: Prescales) -> Value:
        """x [B, S, I] times all weights: [B, S, sum of O]."""
        prefix = f"encoder.layers.{layer}."
        modules, name = self.modules(prefix), f"{prefix}{self.name}"
        if checkpoint.formats.get(modules[0]) is None:
            weights = [checkpoint.read(f"{module}.weight") for module in modules]
            factor = self._factor(scales, [len(each) for each in weights])
            return float_linear(recorder, name, np.concatenate(weights), x, factor)
        parts = [checkpoint.read_quantized(module) for module in modules]
        joined = replace(
            parts[0],
            values=np.concatenate([each.values for each in parts]),
            scale=np.concatenate([each.scale for each in parts]),
        )
        factor = self._factor(scales, [len(each.values) for each in parts])
        return quantized_linear(recorder, QuantizedLinear(name, joined, factor), x)

    def _factor(self, scales: Prescales, outputs: Sequence[int]) -> Float32 | None:
        """[sum of O], by which the outputs are multiplied; None for ones."""
        found = [scales.factors.get(part) for part in self.parts]
        if all(each is None for each in found):
            return None
        ones = [np.ones(count, np.float32) for count in outputs]
        return np.concatenate([one if each is None else each for each, one in zip(found, ones, strict=True)])


QKV = JoinedLinear("self_attn.qkv_proj", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"))
GATE_UP = JoinedLinear("mlp.gate_up_proj", ("mlp.gate_proj", "mlp.up_proj"))


def layers_of_product(node: str) -> tuple[str, ...]:
    """The modules of the linear layers that the matrix product called ``node`` computes: those it joins, or itself."""
    for joined in (QKV, GATE_UP):
        if node.endswith(f".{joined.name}"):
            return joined.modules(node.removesuffix(joined.name))
    return (node,)


def by_layer(products: Mapping[str, str]) -> dict[str, str]:
    """What is known of matrix products by their name, for each of the layers that they compute."""
    return {module: known for node, known in products.items() for module in layers_of_product(node)}

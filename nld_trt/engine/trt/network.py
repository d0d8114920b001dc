# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a parsed TensorRT network consists of, read back as plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nld_trt.engine.trt.listing import Shape, node_names

# The library's element types in the contract's spelling, activations by precision.
_DTYPES = {
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "FLOAT": "float32",
    "HALF": "fp16",
    "BF16": "bf16",
}


@dataclass(frozen=True)
class AttentionFacts:
    """One fused attention of the network. ``decomposable``: the compiler may replace it by plain operations."""

    node: str
    dtype: str
    masked: bool
    decomposable: bool


@dataclass(frozen=True)
class NetworkFacts:
    """A network before compilation. Run-time sizes in shapes are -1.

    Attributes:
        stored: element type that each dequantization reads, by the name of its node.
        plugins: the number of layers that are plugins.
    """

    inputs: Mapping[str, tuple[str, Shape]]
    outputs: Mapping[str, tuple[str, Shape]]
    attentions: tuple[AttentionFacts, ...]
    cache_updates: int
    matmul_dtypes: Mapping[str, int]
    stored: Mapping[str, str] = field(default_factory=dict)
    plugins: int = 0

    @classmethod
    def read(cls, trt: Any, network: Any) -> NetworkFacts:
        layers = [network.get_layer(index) for index in range(network.num_layers)]
        kinds = Counter(layer.type for layer in layers)
        matmuls = [layer for layer in layers if layer.type == trt.LayerType.MATRIX_MULTIPLY]
        return cls(
            inputs=_tensors(network.get_input(index) for index in range(network.num_inputs)),
            outputs=_tensors(network.get_output(index) for index in range(network.num_outputs)),
            attentions=tuple(_attention(trt, layer) for layer in layers if layer.type == trt.LayerType.ATTENTION_INPUT),
            cache_updates=kinds[trt.LayerType.KV_CACHE_UPDATE],
            matmul_dtypes=Counter(
                _dtype(layer.get_input(index).dtype) for layer in matmuls for index in range(layer.num_inputs)
            ),
            stored={
                layer.name: _dtype(layer.get_input(0).dtype)
                for layer in layers
                if layer.type == trt.LayerType.DEQUANTIZE
            },
            plugins=kinds[trt.LayerType.PLUGIN_V3],
        )


def _attention(trt: Any, layer: Any) -> AttentionFacts:
    # get_layer returns the base class; assigning the class is how this API casts down.
    layer.__class__ = trt.IAttentionInputLayer
    attention = layer.attention
    nodes = node_names(attention.metadata)
    return AttentionFacts(
        node=nodes[0] if nodes else attention.name,
        dtype=_dtype(layer.get_input(0).dtype),
        masked=attention.mask is not None,
        decomposable=attention.decomposable,
    )


def _tensors(tensors: Any) -> dict[str, tuple[str, Shape]]:
    return {tensor.name: (_dtype(tensor.dtype), tuple(tensor.shape)) for tensor in tensors}


def _dtype(dtype: Any) -> str:
    name: str = dtype.name
    return _DTYPES.get(name, name.lower())

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The tensors of a text model, by name and shape (docs/model.md, Tensors).

The names are those of the released checkpoints. They have no leading ``model.``, no layer has a bias,
and the head is a separate tensor in every size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from nld_trt.model.config import ModelConfig

Shape = tuple[int, ...]

# The module that holds everything except the head.
BODY = "encoder"
EMBEDDING = "encoder.embed_tokens.weight"
FINAL_NORM = "encoder.norm.weight"
HEAD = "diffusion_head.weight"

WEIGHT_DTYPES = ("BF16", "F16", "F32")

# Axes: H hidden, Q query heads, K key/value heads, I MLP, V vocabulary.
_LAYER_AXES: dict[str, str] = {
    "input_layernorm": "H",
    "self_attn.q_proj": "QH",
    "self_attn.k_proj": "KH",
    "self_attn.v_proj": "KH",
    "self_attn.o_proj": "HQ",
    "post_attention_layernorm": "H",
    "mlp.gate_proj": "IH",
    "mlp.up_proj": "IH",
    "mlp.down_proj": "HI",
}

LAYER_PARTS = tuple(_LAYER_AXES)
# The seven matrices of a layer, which quantization applies to.
LAYER_LINEARS = tuple(part for part, axes in _LAYER_AXES.items() if len(axes) == 2)

# The beginnings of tensor names in checkpoints that users mistake for a release.
FOREIGN_PREFIXES: dict[str, str] = {
    "language_model.": "a Ministral-3 source checkpoint, from before it became a diffusion model",
    "encoder.vision_tower.": "a model that also reads images, of which only the text model is supported",
    "encoder.multi_modal_projector.": "a model that also reads images, of which only the text model is supported",
}


@dataclass(frozen=True)
class TensorSpec:
    """The tensor that a checkpoint must have under a name. Dtypes have their safetensors names."""

    shape: Shape
    dtypes: tuple[str, ...] = WEIGHT_DTYPES
    optional: bool = False


def layer_tensor(layer: int, part: str) -> str:
    """Returns the tensor name of one of :data:`LAYER_PARTS` in ``layer``."""
    return f"encoder.layers.{layer}.{part}.weight"


def expected_tensors(config: ModelConfig) -> dict[str, Shape]:
    """Map name to shape for all 9 · layers + 3 tensors, in the order in which the network uses them."""
    size = {
        "H": config.hidden_size,
        "Q": config.query_size,
        "K": config.key_value_size,
        "I": config.intermediate_size,
        "V": config.vocab_size,
    }

    def shape(axes: str) -> Shape:
        return tuple(size[axis] for axis in axes)

    tensors = {EMBEDDING: shape("VH")}
    for layer in range(config.num_hidden_layers):
        tensors.update({layer_tensor(layer, part): shape(axes) for part, axes in _LAYER_AXES.items()})
    return {**tensors, FINAL_NORM: shape("H"), HEAD: shape("VH")}


def linear_modules(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """Map module name to (output, input features) for every matrix that can be quantized, the head last."""
    shapes = expected_tensors(config)
    names = [
        layer_tensor(layer, part).removesuffix(".weight")
        for layer in range(config.num_hidden_layers)
        for part in LAYER_LINEARS
    ]
    pairs = {name: shapes[f"{name}.weight"] for name in (*names, HEAD.removesuffix(".weight"))}
    return {name: (outputs, inputs) for name, (outputs, inputs) in pairs.items()}


def parameter_count(config: ModelConfig) -> int:
    """Count the elements of all tensors, without the adapter (docs/model.md, Network)."""
    return sum(math.prod(shape) for shape in expected_tensors(config).values())

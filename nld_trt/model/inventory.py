# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The tensors of a text model, by name and shape (docs/model.md, Tensors).

The names are those of the Nemotron-Labs-Diffusion releases, whatever the family: no leading ``model.``, and the head as
a separate tensor, which is the embedding where ``tie_word_embeddings`` says so. Some families have norms of queries and
keys, or biases, beside the parts that all have.
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
HEAD_MODULE = HEAD.removesuffix(".weight")

# How the names of biases end.
BIAS = ".bias"

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

# The seven matrices of a layer, which quantization applies to.
LAYER_LINEARS = tuple(part for part, axes in _LAYER_AXES.items() if len(axes) == 2)
# Of families that have them. D is head_dim.
Q_NORM, K_NORM = "self_attn.q_norm", "self_attn.k_norm"
_Q_K_NORM_AXES: dict[str, str] = {Q_NORM: "D", K_NORM: "D"}
_BIAS_AXES: dict[str, str] = {"self_attn.q_proj": "Q", "self_attn.k_proj": "K", "self_attn.v_proj": "K"}

_READS_IMAGES = "a model that also reads images, whose config.json has another model_type"
# The beginnings of tensor names in checkpoints that users mistake for a release.
FOREIGN_PREFIXES: dict[str, str] = {
    "language_model.": "a Ministral-3 source checkpoint, from before it became a diffusion model",
    "encoder.vision_tower.": _READS_IMAGES,
    "encoder.multi_modal_projector.": _READS_IMAGES,
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


def layer_bias(layer: int, part: str) -> str:
    """Returns the name of the bias of one of :func:`biased_parts` in ``layer``."""
    return f"encoder.layers.{layer}.{part}{BIAS}"


def layer_parts(config: ModelConfig) -> tuple[str, ...]:
    """List the norms and linear layers of a decoder layer."""
    return (*_LAYER_AXES, *(_Q_K_NORM_AXES if config.family.q_k_norm else ()))


def biased_parts(config: ModelConfig) -> tuple[str, ...]:
    """List the linear layers of a decoder layer that have a bias."""
    return tuple(_BIAS_AXES) if config.family.qkv_bias else ()


def expected_tensors(config: ModelConfig) -> dict[str, Shape]:
    """Map name to shape for all tensors, in canonical order; of Nemotron-Labs-Diffusion they are 9 · layers + 3."""
    size = {
        "H": config.hidden_size,
        "Q": config.query_size,
        "K": config.key_value_size,
        "I": config.intermediate_size,
        "V": config.vocab_size,
        "D": config.head_dim,
    }
    axes_of = {**_LAYER_AXES, **_Q_K_NORM_AXES}

    def shape(axes: str) -> Shape:
        return tuple(size[axis] for axis in axes)

    tensors = {EMBEDDING: shape("VH")}
    for layer in range(config.num_hidden_layers):
        tensors.update({layer_tensor(layer, part): shape(axes_of[part]) for part in layer_parts(config)})
        tensors.update({layer_bias(layer, part): shape(_BIAS_AXES[part]) for part in biased_parts(config)})
    return {**tensors, FINAL_NORM: shape("H"), HEAD: shape("VH")}


def linear_modules(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """Map module name to (output, input features) for every matrix that can be quantized, the head last."""
    shapes = expected_tensors(config)
    names = [
        layer_tensor(layer, part).removesuffix(".weight")
        for layer in range(config.num_hidden_layers)
        for part in LAYER_LINEARS
    ]
    pairs = {name: shapes[f"{name}.weight"] for name in (*names, HEAD_MODULE)}
    return {name: (outputs, inputs) for name, (outputs, inputs) in pairs.items()}


def parameter_count(config: ModelConfig) -> int:
    """Count the elements of all tensors, without the adapter (docs/model.md, Network). A tied head is not counted."""
    shapes = expected_tensors(config)
    return sum(math.prod(shape) for name, shape in shapes.items() if name != HEAD or not config.tie_word_embeddings)

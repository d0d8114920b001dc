# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Places the pre-quantization scales of AWQ: in the weights that compute a layer's input where that is exact, else in
a Mul.

A quantized layer computes y = dequantized(W) · (pre_quant_scale ∘ x). Multiplying x gives the same result as
multiplying the output of whatever computes x, if everything that reads x needs the same factor. A decoder layer has
four such inputs of linear layers. ``FOLDS`` has a rule for each, and a scale that no rule takes stays a Mul.

Shapes: H hidden, Q heads · head_dim, K key/value heads · head_dim, I intermediate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.config import ModelConfig
from nld_trt.model.quantized.formats import PRE_QUANT_SCALE, Float32

# Formats whose output rows can be multiplied through their weight scales. The others have one scale for the whole
# matrix, or scales in FP8, which would have to be rounded again. None is high precision.
SCALES_ROWS: frozenset[str | None] = frozenset({None, "W4A16_AWQ", "FP8_PER_CHANNEL_PER_TOKEN"})


@dataclass(frozen=True)
class Fold:
    """A rule for one input that linear layers share.

    Attributes:
        readers: all parts of the layer that read the input.
        maker: the norm or linear layer whose output the input follows, feature by feature.
        spread: maps the readers' scale to the factor on the maker's output, or to None where no factor is exact.
    """

    readers: tuple[str, ...]
    maker: str
    spread: Callable[[Float32, ModelConfig], Float32 | None]


def _as_it_is(scale: Float32, config: ModelConfig) -> Float32:
    return scale


def _per_value_head(scale: Float32, config: ModelConfig) -> Float32 | None:
    """[Q] to [K]. The query heads of a group read the same values, so their scales must agree."""
    heads = scale.reshape(config.num_key_value_heads, -1, config.head_dim)
    return heads[:, 0].reshape(-1) if np.array_equal(heads, np.broadcast_to(heads[:, :1], heads.shape)) else None


FOLDS: tuple[Fold, ...] = (
    Fold(("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "input_layernorm", _as_it_is),
    # Attention mixes values over positions and not over features.
    Fold(("self_attn.o_proj",), "self_attn.v_proj", _per_value_head),
    Fold(("mlp.gate_proj", "mlp.up_proj"), "post_attention_layernorm", _as_it_is),
    # The activation multiplies the up projection feature by feature.
    Fold(("mlp.down_proj",), "mlp.up_proj", _as_it_is),
)

# The draft adapter reads the same input as this part, and needs it without the scale.
BRANCHED = "self_attn.o_proj"


@dataclass(frozen=True)
class Prescales:
    """The places of the scales of one layer, by part.

    Attributes:
        factors: multiply the output of a norm (its weight) or of a linear layer (its rows).
        explicit: multiply the input of a linear layer in the graph.
        branch: [Q], the factor that the input of the draft adapter contains and that must be divided out, or None.
    """

    factors: Mapping[str, Float32]
    explicit: Mapping[str, Float32]
    branch: Float32 | None

    @classmethod
    def of_layer(cls, checkpoint: Checkpoint, layer: int) -> Prescales:
        """Apply every rule of :data:`FOLDS`, reading the scales of ``layer``."""
        factors: dict[str, Float32] = {}
        explicit: dict[str, Float32] = {}
        for fold in FOLDS:
            scales = {part: read_prescale(checkpoint, _module(layer, part)) for part in fold.readers}
            factor = _factor(fold, scales, checkpoint, layer)
            if factor is None:
                explicit |= {part: scale for part, scale in scales.items() if scale is not None}
            else:
                factors[fold.maker] = factor
        own = read_prescale(checkpoint, _module(layer, BRANCHED))
        return cls(factors, explicit, None if BRANCHED in explicit else own)


def read_prescale(checkpoint: Checkpoint, module: str) -> Float32 | None:
    """[I] float32, or None where the module has no scale or a scale of ones."""
    name = f"{module}.{PRE_QUANT_SCALE}"
    if module not in checkpoint.formats or name not in checkpoint.names:
        return None
    scale: Float32 = checkpoint.read(name).astype(np.float32)
    return None if np.all(scale == 1) else scale


def _factor(fold: Fold, scales: Mapping[str, Float32 | None], checkpoint: Checkpoint, layer: int) -> Float32 | None:
    """The factor on the maker's output, or None where no factor is exact for all readers."""
    first, *others = scales.values()
    if first is None or any(other is None or not np.array_equal(first, other) for other in others):
        return None
    maker = checkpoint.formats.get(_module(layer, fold.maker))
    if (maker.algorithm.name if maker else None) not in SCALES_ROWS:
        return None
    return fold.spread(first, checkpoint.config)


def _module(layer: int, part: str) -> str:
    return f"encoder.layers.{layer}.{part}"

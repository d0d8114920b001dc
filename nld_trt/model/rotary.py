# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Rotary frequencies, cos/sin tables and the per-position query scale, in NumPy.

Every other module (torch network, ONNX graph, manifests, export) takes its numbers from here.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import numpy.typing as npt

from nld_trt.model.config import RopeParameters
from nld_trt.model.spelling import PLAIN_ROPE

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


def inverse_frequencies(rope: RopeParameters, head_dim: int) -> Float64:
    """Compute the inverse frequencies [head_dim / 2], in radians per position (docs/model.md, Rotary positions).

    Those of YaRN differ from plain rotary frequencies at every position, also in short prompts. Plain ones are rounded
    twice, as in transformers: at position 32,768 the last bit of a frequency is 0.003 radians.
    """
    if rope.rope_type == PLAIN_ROPE:
        exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
        growth = np.power(np.float64(rope.rope_theta), exponents.astype(np.float64)).astype(np.float32)
        plain: Float64 = (np.float32(1.0) / growth).astype(np.float64)
        return plain
    theta, original = rope.rope_theta, rope.original_max_position_embeddings

    def dimension(rotations: float) -> float:
        return head_dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(dimension(rope.beta_fast)), 0)
    high = min(math.ceil(dimension(rope.beta_slow)), head_dim - 1)
    index = np.arange(head_dim // 2, dtype=np.float64)
    # The reference uses 0.001 where both ends are the same dimension, which keeps the ramp finite.
    width = (high - low) or 0.001
    ramp = np.clip((index - low) / width, 0.0, 1.0)
    base = theta ** (-2.0 * index / head_dim)
    frequencies: Float64 = base * (1.0 - ramp) + base / rope.factor * ramp
    return frequencies


def magnitude(rope: RopeParameters) -> float:
    """Compute YaRN's factor of cos and sin. It is 1 for every configuration that a checkpoint may have.

    Programs that do not read ``mscale_all_dim`` compute another one (docs/model.md, Rotary positions).
    """

    def growth(mscale: float) -> float:
        return 1.0 if rope.factor <= 1.0 else 0.1 * mscale * math.log(rope.factor) + 1.0

    return growth(rope.mscale) / growth(rope.mscale_all_dim)


def query_scale(rope: RopeParameters, positions: npt.ArrayLike) -> Float32:
    """Compute the scale on rotated queries at absolute ``positions``, in their shape (docs/model.md, Query scale)."""
    steps = np.floor(np.asarray(positions, dtype=np.float64) / rope.original_max_position_embeddings)
    scale: Float32 = (1.0 + rope.llama_4_scaling_beta * np.log1p(steps)).astype(np.float32)
    return scale


def cos_sin_table(rope: RopeParameters, head_dim: int, length: int) -> tuple[Float32, Float32]:
    """Compute cos and sin for positions 0 to length - 1, each [length, head_dim / 2].

    The angle is a float32 product, as in the reference. At large positions another rounding would change the
    network's results without improving them.
    """
    frequencies = inverse_frequencies(rope, head_dim).astype(np.float32)
    angles = np.arange(length, dtype=np.float32)[:, None] * frequencies[None, :]
    factor = np.float32(magnitude(rope))
    return np.cos(angles) * factor, np.sin(angles) * factor


def table_hash(rope: RopeParameters, head_dim: int) -> str:
    """Compute a SHA-256 that identifies the rotary behaviour of a checkpoint, for any length of table.

    Taken over what the tables are made from (frequencies, magnitude of cos and sin, query scale at the points where
    it changes), rounded to ten digits so that it does not depend on a platform's last bit.
    """
    scale_points = np.arange(4) * rope.original_max_position_embeddings
    numbers = [*inverse_frequencies(rope, head_dim), magnitude(rope), *query_scale(rope, scale_points)]
    text = ",".join(f"{value:.9e}" for value in numbers)
    return hashlib.sha256(f"{text};{rope.original_max_position_embeddings}".encode()).hexdigest()

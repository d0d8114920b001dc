# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The released sizes."""

from __future__ import annotations

from dataclasses import dataclass

from nld_trt.errors import InputError
from nld_trt.model.family import DREAM, LLADA, MISTRAL, NLD, QWEN3, SDAR


@dataclass(frozen=True)
class Geometry:
    """The sizes that differ between the releases (docs/model.md, Network) or that tests reduce.

    Attributes:
        family_name: a key of ``family.FAMILIES``.
        tied: the head is the embedding.
    """

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    rope_theta: float
    num_attention_heads: int = 32
    num_key_value_heads: int = 8
    head_dim: int = 128
    vocab_size: int = 131072
    family_name: str = NLD
    tied: bool = False


PRESETS: dict[str, Geometry] = {
    "3b": Geometry(hidden_size=3072, intermediate_size=9216, num_hidden_layers=26, rope_theta=1e6),
    "8b": Geometry(hidden_size=4096, intermediate_size=14336, num_hidden_layers=34, rope_theta=1e6),
    "14b": Geometry(hidden_size=5120, intermediate_size=16384, num_hidden_layers=40, rope_theta=1e9),
    "qwen3-4b": Geometry(2560, 9728, 36, 1e6, vocab_size=151936, family_name=QWEN3, tied=True),
    "qwen3-8b": Geometry(4096, 12288, 36, 1e6, vocab_size=151936, family_name=QWEN3),
    "ministral-8b": Geometry(4096, 12288, 36, 1e8, family_name=MISTRAL),
    "sdar-8b": Geometry(4096, 12288, 36, 1e6, vocab_size=151936, family_name=SDAR),
    "llada-8b": Geometry(4096, 12288, 32, 5e5, 32, 32, vocab_size=126464, family_name=LLADA),
    "dream-7b": Geometry(3584, 18944, 28, 1e6, 28, 4, vocab_size=152064, family_name=DREAM),
}


def preset(name: str) -> Geometry:
    """Look up a release's geometry by size, in upper or lower case. Raises InputError for any other name."""
    try:
        return PRESETS[name.lower()]
    except KeyError:
        raise InputError(f"There is no preset {name!r}; there are {', '.join(PRESETS)}") from None

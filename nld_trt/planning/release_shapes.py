# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The shapes of the released sizes, which need no file."""

from __future__ import annotations

from typing import Final

from nld_trt.model.family import NLD
from nld_trt.model.releases import Geometry
from nld_trt.planning.products import ModelShape

# Of the released draft adapters (docs/model.md, Draft adapter).
ADAPTER_RANK: Final = 128


def of_geometry(name: str, geometry: Geometry) -> ModelShape:
    """The shape of a release, in BF16 and with its draft adapter. Norms of queries and keys are not counted."""
    return ModelShape(
        name=name,
        hidden=geometry.hidden_size,
        intermediate=geometry.intermediate_size,
        layers=geometry.num_hidden_layers,
        vocabulary=geometry.vocab_size,
        heads=geometry.num_attention_heads,
        kv_heads=geometry.num_key_value_heads,
        head_size=geometry.head_dim,
        adapter_rank=ADAPTER_RANK if geometry.family_name == NLD else 0,
    )

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The building blocks as PyTorch's operators: what the CPU runs, and what kernels are compared with.

Positions and masks come from ``graph.network.layout``, the same nodes that the other backends compute.

Shapes: as in ``blocks``; L cache slots that are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nld_trt.engine.session import EngineInfo
from nld_trt.engine.torch.blocks import DraftAdapter, HeadNorms, LayerCaches, LinearLayer
from nld_trt.engine.torch.layout import Part
from nld_trt.engine.torch.linear import UnpackedPart
from nld_trt.engine.torch.row_layout import layout_program
from nld_trt.engine.torch.types import ACTIVATIONS
from nld_trt.model import rotary

# Caches are read in steps of this many slots, so that few lengths of masks are prepared.
_SLOT_STEP = 64


@dataclass(frozen=True)
class EagerLayout:
    """Values that every layer uses.

    Attributes:
        positions: [B, S] int64, never beyond the rotary tables.
        slots: [B, S] int64, the cache slots of the new tokens.
        mask: [B, 1, S, L] bool, what each new token sees.
        drafts: [T, 1] in the activation precision, 1 where the draft adapter is used.
    """

    positions: Tensor
    slots: Tensor
    mask: Tensor
    drafts: Tensor


@dataclass(frozen=True)
class RotaryTables:
    """cos and sin by position, [capacity, D / 2], for queries with their scale and for keys."""

    query_cos: Tensor
    query_sin: Tensor
    key_cos: Tensor
    key_sin: Tensor

    @classmethod
    def of(cls, info: EngineInfo, device: torch.device) -> RotaryTables:
        rope, length = info.config.rope, info.limits.capacity
        cos, sin = rotary.cos_sin_table(rope, info.config.head_dim, length)
        # Multiplying rotated queries by the scale is rotating by tables that were multiplied by it.
        scale = rotary.query_scale(rope, np.arange(length))[:, None]
        dtype = ACTIVATIONS[info.precision]
        return cls(*(torch.from_numpy(table).to(device, dtype) for table in (cos * scale, sin * scale, cos, sin)))


class EagerBlocks:
    """See :class:`blocks.Blocks`."""

    def __init__(self, info: EngineInfo, device: torch.device) -> None:
        self._config = info.config
        self._dtype = ACTIVATIONS[info.precision]
        self._capacity = info.limits.capacity
        self._slots = torch.arange(info.limits.capacity, dtype=torch.int32, device=device)
        self._rotary = RotaryTables.of(info, device)
        self._program = layout_program(info, device)

    def layout(self, inputs: Mapping[str, Tensor], caches: LayerCaches) -> EagerLayout:
        longest = int((inputs["cache_length"] + inputs["valid_count"]).max())
        read = min(max(-(-longest // _SLOT_STEP), 1) * _SLOT_STEP, caches.keys.shape[2])
        shown = {name: inputs[name] for name in ("tokens", "cache_length", "valid_count", "causal", "segments")}
        positions, mask, drafts = self._program.run({**shown, "attended_slots": self._slots[:read]})
        rows, new = inputs["tokens"].shape
        slots = inputs["cache_length"].long()[:, None] + torch.arange(new, device=mask.device)
        adapted = (drafts & inputs["draft_adapter"][:, None]).expand(rows, new)
        gate = adapted.reshape(rows * new, 1).to(self._dtype)
        # Padding may run past the tables; its result is never used.
        return EagerLayout(positions.clamp_max(self._capacity - 1), slots, mask, gate)

    def positions(self, layout: EagerLayout) -> Tensor:
        return layout.positions

    def linear(self, part: Part, tensors: Mapping[str, Tensor]) -> LinearLayer:
        return UnpackedPart.of(part, tensors, self._dtype)

    def norm(self, x: Tensor, weight: Tensor) -> Tensor:
        statistics = x.float()
        normed = statistics * torch.rsqrt(statistics.pow(2).mean(-1, keepdim=True) + self._config.rms_norm_eps)
        return normed.to(x.dtype) * weight

    def add_norm(self, x: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        total = x + residual
        return total, self.norm(total, weight)

    def attention(
        self, qkv: Tensor, layout: EagerLayout, caches: LayerCaches, norms: HeadNorms | None = None
    ) -> Tensor:
        config, (rows, new) = self._config, layout.positions.shape
        sizes = [config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads]
        heads = qkv.reshape(rows, new, -1, config.head_dim)
        query, key, value = torch.split(heads, sizes, 2)
        if norms is not None:
            query, key = self.norm(query, norms.query), self.norm(key, norms.key)
        tables, at = self._rotary, layout.positions
        query = rotate(query, tables.query_cos[at], tables.query_sin[at]).transpose(1, 2)
        own = torch.arange(rows, device=qkv.device)[:, None]
        # Two index tensors around a slice put the indexed axes first: [B, S, K, D].
        caches.keys[own, :, layout.slots] = rotate(key, tables.key_cos[at], tables.key_sin[at])
        caches.values[own, :, layout.slots] = value
        read = layout.mask.shape[-1]
        attended = F.scaled_dot_product_attention(
            query, caches.keys[:, :, :read], caches.values[:, :, :read],
            attn_mask=layout.mask, scale=config.head_dim**-0.5, enable_gqa=True,
        )  # fmt: skip
        return attended.transpose(1, 2).reshape(rows * new, -1)

    def activate(self, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, -1)
        return F.silu(gate) * up

    def add_draft(self, projected: Tensor, x: Tensor, adapter: DraftAdapter, layout: EagerLayout) -> Tensor:
        return projected + F.linear(F.linear(x, adapter.lora_a) * layout.drafts, adapter.lora_b)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The half-split rotary embedding of [B, S, heads, D], with cos and sin [B, S, D / 2]."""
    first, second = x.chunk(2, -1)
    cos, sin = cos[:, :, None], sin[:, :, None]
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)

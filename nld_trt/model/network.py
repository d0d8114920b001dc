# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The network in PyTorch, for training nld-tiny, for quantization and as a reference in tests.

Module names are the checkpoint's tensor names (docs/model.md, Tensors), so ``state_dict`` is a checkpoint.
The caller's mask decides which tokens a pass sees, so causal, bidirectional and mixed training passes share one
forward. Serving never imports this module.

Shapes: B rows, S new tokens, T keys, H hidden, D head_dim.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nld_trt.model import rotary
from nld_trt.model.config import ModelConfig


@dataclass
class LayerCache:
    """Keys (after rotary) and values of one layer, each [B, kv_heads, T, D]; None before the first pass."""

    key: Tensor | None = None
    value: Tensor | None = None

    def extended(self, key: Tensor, value: Tensor) -> LayerCache:
        if self.key is None or self.value is None:
            return LayerCache(key, value)
        return LayerCache(torch.cat([self.key, key], dim=2), torch.cat([self.value, value], dim=2))

    def cropped(self, length: int) -> LayerCache:
        if self.key is None or self.value is None:
            return self
        return LayerCache(self.key[:, :, :length], self.value[:, :, :length])


@dataclass
class Cache:
    layers: list[LayerCache] = field(default_factory=list)

    @property
    def length(self) -> int:
        return 0 if not self.layers or self.layers[0].key is None else self.layers[0].key.shape[2]

    def cropped(self, length: int) -> Cache:
        return Cache([layer.cropped(length) for layer in self.layers])


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        statistics = x.float()
        normed = statistics * torch.rsqrt(statistics.pow(2).mean(-1, keepdim=True) + self.eps)
        scaled: Tensor = self.weight * normed.to(x.dtype)
        return scaled


class DraftBranch(nn.Module):
    """The draft adapter beside an output projection: scale · B · A · x, multiplied by a gate for each token.

    It is a separate module, so that the projection stays an ordinary linear layer for quantization.
    """

    def __init__(self, lora_a: Tensor, lora_b: Tensor, scale: float) -> None:
        """Take ``lora_a`` [rank, in] and ``lora_b`` [out, rank]."""
        super().__init__()
        self.lora_A, self.lora_B, self.scale = nn.Parameter(lora_a), nn.Parameter(lora_b), scale

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        branch = F.linear(F.linear(x, self.lora_A.to(x.dtype)), self.lora_B.to(x.dtype))
        return branch * (gate.to(x.dtype) * self.scale)


class Attention(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        bias = config.family.qkv_bias
        self.q_proj = nn.Linear(config.hidden_size, config.query_size, bias=bias)
        self.k_proj = nn.Linear(config.hidden_size, config.key_value_size, bias=bias)
        self.v_proj = nn.Linear(config.hidden_size, config.key_value_size, bias=bias)
        self.o_proj = nn.Linear(config.query_size, config.hidden_size, bias=False)
        if config.family.q_k_norm:
            self.q_norm = RMSNorm(config.head_dim, config.rms_norm_eps)
            self.k_norm = RMSNorm(config.head_dim, config.rms_norm_eps)
        self.draft: DraftBranch | None = None

    def attach(self, lora_a: Tensor, lora_b: Tensor, scale: float) -> None:
        """Add the draft adapter of this layer."""
        self.draft = DraftBranch(lora_a, lora_b, scale)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, scale: Tensor, mask: Tensor, cache: LayerCache, gate: Tensor | None
    ) -> tuple[Tensor, LayerCache]:
        def heads(projection: nn.Linear) -> Tensor:
            rows: Tensor = projection(x)
            return rows.reshape(*rows.shape[:-1], -1, self.config.head_dim).transpose(1, 2)

        query, key = heads(self.q_proj), heads(self.k_proj)
        if self.config.family.q_k_norm:
            query, key = self.q_norm(query), self.k_norm(key)
        query = rotate(query, cos, sin) * scale
        cache = cache.extended(rotate(key, cos, sin), heads(self.v_proj))
        assert cache.key is not None
        assert cache.value is not None
        # Attention is written out: on CPUs the backward pass of PyTorch's fused kernel takes several times as long.
        kv_heads = self.config.num_key_value_heads
        rows, new = x.shape[:2]
        grouped = query.reshape(rows, kv_heads, -1, self.config.head_dim)
        scores = (grouped @ cache.key.transpose(-1, -2)).reshape(rows, kv_heads, -1, new, mask.shape[-1])
        scores = scores * self.config.head_dim**-0.5
        weights = scores.masked_fill(~mask[:, :, None], float("-inf")).softmax(-1, dtype=torch.float32)
        attended = (weights.to(x.dtype).flatten(2, 3) @ cache.value).reshape(rows, -1, new, self.config.head_dim)
        merged = attended.transpose(1, 2).flatten(2)
        projected = self.o_proj(merged)
        return projected if gate is None or self.draft is None else projected + self.draft(merged, gate), cache


class MLP(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return y


class Layer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, scale: Tensor, mask: Tensor, cache: LayerCache, gate: Tensor | None
    ) -> tuple[Tensor, LayerCache]:
        attended, cache = self.self_attn(self.input_layernorm(x), cos, sin, scale, mask, cache, gate)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), cache


class Encoder(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class Network(nn.Module):
    """One text model of any family."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.diffusion_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.diffusion_head.weight = self.encoder.embed_tokens.weight
        inverse = rotary.inverse_frequencies(config.rope, config.head_dim)
        self.inverse_frequencies: Tensor
        self.register_buffer("inverse_frequencies", torch.from_numpy(inverse).float(), persistent=False)

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        mask: Tensor,
        *,
        cache: Cache | None = None,
        gate: Tensor | None = None,
        head: Tensor | None = None,
    ) -> tuple[Tensor, Cache]:
        """Compute the logits of new tokens that follow cached ones.

        Args:
            tokens: [B, S] token ids.
            positions: [B, S] absolute positions.
            mask: [B, 1, S, T] True where a query may see a key; T counts cached and new tokens.
            cache: keys and values of earlier tokens; it is not modified.
            gate: [B, S, 1] factor of the adapter branch for each token, or None to leave the branch out.
            head: [B, S] True for tokens whose logits are computed; None for all.

        Returns:
            Logits [B, S, V] (or [N, V] for N selected tokens) and the cache with the new tokens.
        """
        layers = cache.layers if cache is not None and cache.layers else [LayerCache()] * len(self.encoder.layers)
        x = self.encoder.embed_tokens(tokens)
        cos, sin, scale = position_terms(self.config, self.inverse_frequencies, positions, x.dtype)
        new_layers = []
        for layer, layer_cache in zip(self.encoder.layers, layers, strict=True):
            x, layer_cache = layer(x, cos, sin, scale, mask, layer_cache, gate)
            new_layers.append(layer_cache)
        x = self.encoder.norm(x)
        return self.diffusion_head(x if head is None else x[head]), Cache(new_layers)

    def run(
        self, tokens: Tensor, *, causal: bool, cache: Cache | None = None, adapter: bool = False
    ) -> tuple[Tensor, Cache]:
        """Run one pass of the given kind (docs/model.md, Passes) over [B, S] tokens that continue ``cache``."""
        past = 0 if cache is None else cache.length
        rows, new = tokens.shape
        positions = torch.arange(past, past + new, device=tokens.device).expand(rows, -1)
        keys = torch.arange(past + new, device=tokens.device)
        limit = positions if causal else torch.full_like(positions, past + new - 1)
        mask = (keys <= limit[..., None])[:, None]
        gate = torch.ones(rows, new, 1, device=tokens.device) if adapter else None
        return self.forward(tokens, positions, mask, cache=cache, gate=gate)


def position_terms(
    config: ModelConfig, inverse_frequencies: Tensor, positions: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute cos and sin [B, 1, S, D / 2] and the query scale [B, 1, S, 1] for [B, S] positions."""
    angles = positions[..., None].float() * inverse_frequencies
    steps = torch.floor(positions.float() / config.rope.original_max_position_embeddings)
    scale = (1 + config.rope.llama_4_scaling_beta * torch.log1p(steps))[:, None, :, None]
    return torch.cos(angles)[:, None].to(dtype), torch.sin(angles)[:, None].to(dtype), scale.to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply the half-split rotary embedding to [B, heads, S, D], with cos and sin [B, 1, S, D / 2]."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)

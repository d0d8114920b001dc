# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Rotary embedding of queries and keys, after their norm where they have one, and the new keys and values in the
caches: one pass over q, k and v.

Shapes: B rows, S new tokens, T = B · S, Q query heads, K key/value heads, C capacity, D head_dim.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from nld_trt.engine.torch.kernels.positions import token_layout


@dataclass(frozen=True)
class Rows:
    """The integers of the rows of a forward, each [B], and the number of new tokens of a row.

    Attributes:
        tokens: S.
        prompt_block: of ``graph.contract.prompt_block``.
    """

    cache_length: Tensor
    valid_count: Tensor
    causal: Tensor
    segments: Tensor
    tokens: int
    prompt_block: int = 0

    @property
    def count(self) -> int:
        return len(self.cache_length)


@triton.jit(do_not_specialize=["tokens", "capacity", "table"])
def _rotate_and_store(
    qkv, query, keys, values, query_cos, query_sin, key_cos, key_sin,
    cache_length, valid_count, causal, segments, tokens, capacity, table, query_norm, key_norm, eps,
    HAS_NORMS: tl.constexpr, Q: tl.constexpr, K: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """One program for each token and head. Padding is rotated and not stored."""
    token, head = tl.program_id(0), tl.program_id(1)
    row, order = token // tokens, token % tokens
    cached, count = tl.load(cache_length + row), tl.load(valid_count + row)
    position, _, _, _, _ = token_layout(order, cached, count, tl.load(causal + row) != 0, tl.load(segments + row))
    # Padding may run past the tables; its result is never used.
    position = tl.minimum(position, table - 1)

    HALF: tl.constexpr = D // 2
    at = tl.arange(0, HALF)
    source = qkv + (token.to(tl.int64) * (Q + 2 * K) + head) * D
    first, second = tl.load(source + at), tl.load(source + HALF + at)
    if HAS_NORMS:
        wide, other = first.to(tl.float32), second.to(tl.float32)
        scale = tl.rsqrt((tl.sum(wide * wide, 0) + tl.sum(other * other, 0)) / D + eps)
        is_query, is_value = head < Q, head >= Q + K
        low = tl.where(is_query, tl.load(query_norm + at), tl.load(key_norm + at))
        high = tl.where(is_query, tl.load(query_norm + HALF + at), tl.load(key_norm + HALF + at))
        first = tl.where(is_value, first, (wide * scale).to(first.dtype) * low)
        second = tl.where(is_value, second, (other * scale).to(second.dtype) * high)
    slot = (row.to(tl.int64) * K + (head - Q) % K) * capacity + cached + order
    if head < Q:
        cos, sin = tl.load(query_cos + position * HALF + at), tl.load(query_sin + position * HALF + at)
        target = query + (token.to(tl.int64) * Q + head) * D
        tl.store(target + at, (first * cos - second * sin).to(first.dtype))
        tl.store(target + HALF + at, (second * cos + first * sin).to(first.dtype))
    elif order < count:
        if head < Q + K:
            cos, sin = tl.load(key_cos + position * HALF + at), tl.load(key_sin + position * HALF + at)
            tl.store(keys + slot * D + at, (first * cos - second * sin).to(first.dtype))
            tl.store(keys + slot * D + HALF + at, (second * cos + first * sin).to(first.dtype))
        else:
            tl.store(values + slot * D + at, first)
            tl.store(values + slot * D + HALF + at, second)


def rotate_and_store(
    qkv: Tensor, rows: Rows, keys: Tensor, values: Tensor, tables: tuple[Tensor, Tensor, Tensor, Tensor],
    norms: tuple[Tensor, Tensor] | None = None, eps: float = 0.0,
) -> Tensor:  # fmt: skip
    """Rotated queries [T, Q, D].

    Args:
        qkv: [T, (Q + 2 · K) · D].
        keys, values: the caches [B, K, C, D], written at the slots of the new tokens.
        tables: cos and sin of queries, then of keys, each [table length, D / 2].
        norms: weights [D] of the norms of queries and keys; None where they are not normed.
        eps: of the norms.
    """
    _, kv_heads, capacity, size = keys.shape
    heads = qkv.shape[1] // size - 2 * kv_heads
    query = torch.empty((len(qkv), heads, size), dtype=qkv.dtype, device=qkv.device)
    _rotate_and_store[(len(qkv), heads + 2 * kv_heads)](
        qkv, query, keys, values, *tables,
        rows.cache_length, rows.valid_count, rows.causal, rows.segments, rows.tokens, capacity, len(tables[0]),
        *(norms or (qkv, qkv)), eps, HAS_NORMS=norms is not None, Q=heads, K=kv_heads, D=size, num_warps=1,
    )  # fmt: skip
    return query

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Attention of a row's new tokens over its cache, whose cost follows the tokens that are cached and not the capacity.

The query heads that share a key/value head are rows of one matrix product, so keys and values are read once for all of
them. The keys of a row are divided among several programs where there are few rows; a second kernel joins their results
(Dao, Haziza, Massa and Sizov, "Flash-Decoding for long-context inference", 2023).

Shapes: B rows, S new tokens, T = B · S, Q query heads, K key/value heads, G = Q / K, C capacity, D head_dim.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from nld_trt.engine.torch.kernels.positions import token_layout
from nld_trt.engine.torch.kernels.rotary import Rows

# Programs per multiprocessor that are worth dividing the keys for, and the most parts.
_PROGRAMS_PER_PROCESSOR = 2
_MAX_SPLITS = 32
_KEYS = 64


@triton.jit(do_not_specialize=["tokens", "capacity", "tiles"])
def _attend(
    query, keys, values, out, partial, peaks, sums,
    cache_length, valid_count, causal, segments, tokens, capacity, tiles, scale,
    Q: tl.constexpr, K: tl.constexpr, D: tl.constexpr, G: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, SPLITS: tl.constexpr, PRECISE: tl.constexpr,
    PROMPT_BLOCK: tl.constexpr = 0,
):  # fmt: skip
    """One program for a tile of a row's queries, a key/value head and a part of the row's keys."""
    row, tile = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    head, split = tl.program_id(1), tl.program_id(2)
    cached, count = tl.load(cache_length + row), tl.load(valid_count + row)

    # A row of the tile is one query head of one token.
    index = tile * ROWS + tl.arange(0, ROWS)
    order, member = index // G, index % G
    real = order < tokens
    _, bound, first, last, _ = token_layout(
        order, cached, count, tl.load(causal + row) != 0, tl.load(segments + row), PROMPT_BLOCK
    )
    # Nothing after the row's own tokens is read, whatever padding would see.
    end = tl.minimum(tl.max(tl.where(real, tl.maximum(bound, last), 0), 0), cached + count)
    part = tl.cdiv(tl.cdiv(end, SPLITS), KEYS) * KEYS
    start, stop = split * part, tl.minimum(split * part + part, end)

    at = tl.arange(0, D)
    token = row.to(tl.int64) * tokens + order
    places = (token * Q + head * G + member)[:, None] * D + at[None, :]
    q = tl.load(query + places, mask=real[:, None], other=0.0)
    base = (row.to(tl.int64) * K + head) * capacity * D

    peak = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    gathered = tl.zeros([ROWS, D], tl.float32)
    for begin in range(start, stop, KEYS):
        slot = begin + tl.arange(0, KEYS)
        inside = slot < stop
        cells = base + slot.to(tl.int64)[:, None] * D + at[None, :]
        k = tl.load(keys + cells, mask=inside[:, None], other=0.0)
        if PRECISE:
            scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        else:
            scores = tl.dot(q, tl.trans(k)) * scale
        seen = slot[None, :] < bound[:, None]
        seen = seen | ((slot[None, :] >= first[:, None]) & (slot[None, :] < last[:, None]))
        scores = tl.where(seen & inside[None, :], scores, float("-inf"))
        highest = tl.maximum(peak, tl.max(scores, 1))
        # Before a query sees its first key both are minus infinity, whose difference is not a number.
        shift = tl.where(highest == float("-inf"), 0.0, highest)
        weights = tl.exp(scores - shift[:, None])
        kept = tl.exp(peak - shift)
        total = total * kept + tl.sum(weights, 1)
        v = tl.load(values + cells, mask=inside[:, None], other=0.0)
        if PRECISE:
            added = tl.dot(weights, v.to(tl.float32), input_precision="ieee")
        else:
            added = tl.dot(weights.to(v.dtype), v)
        gathered = gathered * kept[:, None] + added
        peak = highest

    if SPLITS == 1:
        result = gathered / tl.where(total == 0.0, 1.0, total)[:, None]
        tl.store(out + places, result.to(out.dtype.element_ty), mask=real[:, None])
    else:
        line = (token * Q + head * G + member) * SPLITS + split
        tl.store(partial + line[:, None] * D + at[None, :], gathered, mask=real[:, None])
        tl.store(peaks + line, peak, mask=real)
        tl.store(sums + line, total, mask=real)


@triton.jit
def _join(partial, peaks, sums, out, D: tl.constexpr, SPLITS: tl.constexpr):
    """One program for each token and query head."""
    line, split, at = tl.program_id(0).to(tl.int64), tl.arange(0, SPLITS), tl.arange(0, D)
    peak = tl.load(peaks + line * SPLITS + split)
    highest = tl.max(peak, 0)
    kept = tl.exp(peak - tl.where(highest == float("-inf"), 0.0, highest))
    total = tl.sum(tl.load(sums + line * SPLITS + split) * kept, 0)
    parts = tl.load(partial + (line * SPLITS + split)[:, None] * D + at[None, :])
    joined = tl.sum(parts * kept[:, None], 0) / tl.where(total == 0.0, 1.0, total)
    tl.store(out + line * D + at, joined.to(out.dtype.element_ty))


def splits_for(programs: int, processors: int) -> int:
    """The number of parts of a row's keys, a power of two.

    Args:
        programs: the programs that there are without dividing any.
        processors: multiprocessors of the GPU.
    """
    wanted = _PROGRAMS_PER_PROCESSOR * processors // max(programs, 1)
    return min(_MAX_SPLITS, 1 << max(wanted.bit_length() - 1, 0)) if wanted else 1


def attend(query: Tensor, rows: Rows, keys: Tensor, values: Tensor, processors: int) -> Tensor:
    """Attention of rotated queries [T, Q, D] over the caches [B, K, C, D], which hold the new tokens already.

    Args:
        processors: multiprocessors of the GPU.

    Returns:
        [T, Q · D].
    """
    count, heads, size = query.shape
    kv_heads, capacity = keys.shape[1:3]
    group = heads // kv_heads
    lines = group * rows.tokens
    tile = min(max(triton.next_power_of_2(lines), 16), 128 if size <= 128 else 64)
    tiles = triton.cdiv(lines, tile)
    splits = splits_for(rows.count * tiles * kv_heads, processors)
    out = torch.empty((count, heads * size), dtype=query.dtype, device=query.device)
    partial = peaks = sums = out
    if splits > 1:
        partial = torch.empty((count * heads * splits, size), dtype=torch.float32, device=query.device)
        peaks, sums = torch.empty((2, count * heads * splits), dtype=torch.float32, device=query.device)
    _attend[(rows.count * tiles, kv_heads, splits)](
        query, keys, values, out, partial, peaks, sums,
        rows.cache_length, rows.valid_count, rows.causal, rows.segments, rows.tokens, capacity, tiles, size**-0.5,
        Q=heads, K=kv_heads, D=size, G=group, ROWS=tile, KEYS=_KEYS, SPLITS=splits,
        PRECISE=query.dtype == torch.float32, PROMPT_BLOCK=rows.prompt_block, num_warps=8 if tile == 128 else 4,
        num_stages=2,
    )  # fmt: skip
    if splits > 1:
        _join[(count * heads,)](partial, peaks, sums, out, D=size, SPLITS=splits, num_warps=1)
    return out

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The draft adapter's branch, added in place for tokens that are drafted.

A forward without drafts, as every AR forward is, reads the integers of its rows and nothing else.

Shapes: B rows, S new tokens, T = B · S, R rank, H hidden, I input features, P parts of the input features.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from nld_trt.engine.torch.kernels.positions import token_layout
from nld_trt.engine.torch.kernels.rotary import Rows

_TOKENS, _OUTPUTS = 16, 64
# Ranks of a program, input features that it reads at a time, and parts of them.
_RANKS, _FEATURES, _PARTS = 16, 128, 8


@triton.jit
def _drafted(token, count, tokens, draft_adapter, cache_length, valid_count, causal, segments):
    """Which tokens are drafted with the adapter."""
    real = token < count
    row, order = token // tokens, token % tokens
    is_causal = tl.load(causal + row, mask=real, other=1) != 0
    drafts = tl.load(segments + row, mask=real, other=0)
    _, _, _, _, is_mask = token_layout(
        order, tl.load(cache_length + row, mask=real, other=0), tl.load(valid_count + row, mask=real, other=0),
        is_causal, drafts,
    )  # fmt: skip
    adapted = tl.load(draft_adapter + row, mask=real, other=0) != 0
    return adapted & real & (is_mask | (is_causal == 0))


@triton.jit(do_not_specialize=["count", "tokens"])
def _narrow(
    x, lora_a, narrow, draft_adapter, cache_length, valid_count, causal, segments, count, tokens, inputs, rank,
    TOKENS: tl.constexpr, RANKS: tl.constexpr, FEATURES: tl.constexpr, PARTS: tl.constexpr, PRECISE: tl.constexpr,
):  # fmt: skip
    """One program for a tile of tokens, some ranks and a part of the input features."""
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    gate = _drafted(token, count, tokens, draft_adapter, cache_length, valid_count, causal, segments)
    if tl.max(gate.to(tl.int32), 0) == 0:
        return
    place, part = tl.program_id(1) * RANKS + tl.arange(0, RANKS), tl.program_id(2)
    inside = place < rank
    length = tl.cdiv(tl.cdiv(inputs, FEATURES), PARTS) * FEATURES
    total = tl.zeros([TOKENS, RANKS], tl.float32)
    precision: tl.constexpr = "ieee" if PRECISE else "tf32"
    for begin in range(part * length, tl.minimum(part * length + length, inputs), FEATURES):
        feature = begin + tl.arange(0, FEATURES)
        known = feature < inputs
        values = tl.load(x + token.to(tl.int64)[:, None] * inputs + feature[None, :],
                         mask=gate[:, None] & known[None, :], other=0.0)  # fmt: skip
        down = tl.load(lora_a + place[None, :] * inputs + feature[:, None], mask=inside[None, :] & known[:, None],
                       other=0.0)  # fmt: skip
        total = tl.dot(values, down, total, input_precision=precision)
    cells = (part * count + token).to(tl.int64)[:, None] * rank + place[None, :]
    tl.store(narrow + cells, total, mask=gate[:, None] & inside[None, :])


@triton.jit(do_not_specialize=["count", "tokens"])
def _add_draft(
    projected, narrow, lora_b, draft_adapter, cache_length, valid_count, causal, segments,
    count, tokens, hidden, rank,
    R: tl.constexpr, TOKENS: tl.constexpr, OUTPUTS: tl.constexpr, PARTS: tl.constexpr, PRECISE: tl.constexpr,
):  # fmt: skip
    """One program for a tile of tokens and outputs."""
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    gate = _drafted(token, count, tokens, draft_adapter, cache_length, valid_count, causal, segments)
    if tl.max(gate.to(tl.int32), 0) == 0:
        return
    output, place = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS), tl.arange(0, R)
    inside = place < rank
    sums = tl.zeros([TOKENS, R], tl.float32)
    for part in range(PARTS):
        cells = (part * count + token).to(tl.int64)[:, None] * rank + place[None, :]
        sums += tl.load(narrow + cells, mask=gate[:, None] & inside[None, :], other=0.0)
    up = tl.load(lora_b + output.to(tl.int64)[:, None] * rank + place[None, :],
                 mask=(output < hidden)[:, None] & inside[None, :], other=0.0)  # fmt: skip
    # The narrow product is rounded to the activation precision, as that of a layer of its own is.
    low = sums.to(up.dtype)
    if PRECISE:
        branch = tl.dot(low, tl.trans(up), input_precision="ieee")
    else:
        branch = tl.dot(low, tl.trans(up))
    cells = token.to(tl.int64)[:, None] * hidden + output[None, :]
    wanted = gate[:, None] & (output < hidden)[None, :]
    before = tl.load(projected + cells, mask=wanted, other=0.0)
    tl.store(projected + cells, before + branch.to(before.dtype), mask=wanted)


def add_draft(
    projected: Tensor, x: Tensor, lora_a: Tensor, lora_b: Tensor, draft_adapter: Tensor, rows: Rows
) -> Tensor:
    """The output projection [T, H], to which scale · B · A · x is added in place where a token is drafted.

    Args:
        x: [T, I], what was projected.
        lora_a: A, [R, I].
        lora_b: scale · B, [H, R].
        draft_adapter: [B] bool, rows that draft with the adapter.
    """
    (count, hidden), (rank, inputs) = projected.shape, lora_a.shape
    narrow = torch.empty((_PARTS, count, rank), dtype=torch.float32, device=x.device)
    given = draft_adapter, rows.cache_length, rows.valid_count, rows.causal, rows.segments, count, rows.tokens
    tiles, precise = triton.cdiv(count, _TOKENS), projected.dtype.itemsize == 4
    _narrow[(tiles, triton.cdiv(rank, _RANKS), _PARTS)](
        x, lora_a, narrow, *given, inputs, rank,
        TOKENS=_TOKENS, RANKS=_RANKS, FEATURES=_FEATURES, PARTS=_PARTS, PRECISE=precise, num_warps=4,
    )  # fmt: skip
    _add_draft[(tiles, triton.cdiv(hidden, _OUTPUTS))](
        projected, narrow, lora_b, *given, hidden, rank,
        R=max(triton.next_power_of_2(rank), 16), TOKENS=_TOKENS, OUTPUTS=_OUTPUTS, PARTS=_PARTS, PRECISE=precise,
        num_warps=4,
    )  # fmt: skip
    return projected

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The second half of the draft adapter's branch, added in place for tokens that are drafted.

A forward without drafts, as every AR forward is, reads the integers of its rows and nothing else.

Shapes: B rows, S new tokens, T = B · S, R rank, H hidden.
"""

import triton
import triton.language as tl
from torch import Tensor

from nld_trt.engine.torch.kernels.positions import token_layout
from nld_trt.engine.torch.kernels.rotary import Rows

_TOKENS, _OUTPUTS = 16, 64


@triton.jit(do_not_specialize=["count", "tokens"])
def _add_draft(
    projected, narrow, lora_b, draft_adapter, cache_length, valid_count, causal, segments,
    count, tokens, hidden, rank, R: tl.constexpr, TOKENS: tl.constexpr, OUTPUTS: tl.constexpr, PRECISE: tl.constexpr,
):  # fmt: skip
    """One program for a tile of tokens and outputs."""
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    real = token < count
    row, order = token // tokens, token % tokens
    is_causal = tl.load(causal + row, mask=real, other=1) != 0
    drafts = tl.load(segments + row, mask=real, other=0)
    _, _, _, _, is_mask = token_layout(
        order, tl.load(cache_length + row, mask=real, other=0), tl.load(valid_count + row, mask=real, other=0),
        is_causal, drafts,
    )  # fmt: skip
    adapted = tl.load(draft_adapter + row, mask=real, other=0) != 0
    gate = adapted & real & (is_mask | (is_causal == 0))
    if tl.max(gate.to(tl.int32), 0) == 0:
        return
    output, place = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS), tl.arange(0, R)
    inside = place < rank
    low = tl.load(narrow + token.to(tl.int64)[:, None] * rank + place[None, :], mask=gate[:, None] & inside[None, :],
                  other=0.0)  # fmt: skip
    up = tl.load(lora_b + output.to(tl.int64)[:, None] * rank + place[None, :],
                 mask=(output < hidden)[:, None] & inside[None, :], other=0.0)  # fmt: skip
    if PRECISE:
        branch = tl.dot(low, tl.trans(up), input_precision="ieee")
    else:
        branch = tl.dot(low, tl.trans(up))
    cells = token.to(tl.int64)[:, None] * hidden + output[None, :]
    wanted = gate[:, None] & (output < hidden)[None, :]
    before = tl.load(projected + cells, mask=wanted, other=0.0)
    tl.store(projected + cells, before + branch.to(before.dtype), mask=wanted)


def add_draft(projected: Tensor, narrow: Tensor, lora_b: Tensor, draft_adapter: Tensor, rows: Rows) -> Tensor:
    """The output projection [T, H], to which scale · B · narrow is added in place where a token is drafted.

    Args:
        narrow: A · x, [T, R].
        lora_b: scale · B, [H, R].
        draft_adapter: [B] bool, rows that draft with the adapter.
    """
    count, hidden = projected.shape
    _add_draft[(triton.cdiv(count, _TOKENS), triton.cdiv(hidden, _OUTPUTS))](
        projected, narrow, lora_b, draft_adapter, rows.cache_length, rows.valid_count, rows.causal, rows.segments,
        count, rows.tokens, hidden, narrow.shape[1],
        R=max(triton.next_power_of_2(narrow.shape[1]), 16), TOKENS=_TOKENS, OUTPUTS=_OUTPUTS,
        PRECISE=projected.dtype.itemsize == 4, num_warps=4,
    )  # fmt: skip
    return projected

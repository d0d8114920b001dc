# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What the decode kernels read beside logits: the window's tokens and positions, and how each row is verified.

It is the part of ``graph.step.decode_step`` between the hidden states and the decode operators; the tests compare the
two.

Shapes: B rows, S new tokens, W window tokens, L candidates of a slot.
"""

from collections.abc import Mapping

import torch
import triton
import triton.language as tl
from torch import Tensor

from nld_trt.engine.torch.kernels.positions import token_layout
from nld_trt.graph.step.tensors import CANDIDATES

# The outputs by name, with their type and whether they have a value for each slot of the window.
_OUTPUTS: Mapping[str, tuple[torch.dtype, bool]] = {
    "rows": (torch.int64, True),
    "block": (torch.int32, True),
    "position": (torch.int32, True),
    "valid": (torch.int32, False),
    "verify_valid": (torch.int32, False),
    "stream": (torch.int32, False),
    "proposes": (torch.bool, False),
}


@triton.jit(do_not_specialize=["tokens", "window"])
def _window_inputs(
    logit_rows, token_ids, cache_length, valid_count, causal, segments, rejection, drafted_ids,
    rows, block, position, valid, verify_valid, stream, proposes, listed,
    tokens, window, WINDOW: tl.constexpr, LISTED: tl.constexpr, SHIFT: tl.constexpr,
):  # fmt: skip
    """One program for each row."""
    row, slot = tl.program_id(0), tl.arange(0, WINDOW)
    inside = slot < window
    is_causal, drafts = tl.load(causal + row) != 0, tl.load(segments + row)
    wanted = tl.load(logit_rows + row * window + slot, mask=inside, other=-1)
    order = tl.maximum(wanted, 0)
    place, _, _, _, is_mask = token_layout(
        order, tl.load(cache_length + row), tl.load(valid_count + row), is_causal, drafts
    )
    cells = row * window + slot
    tl.store(rows + cells, (row * tokens + tl.maximum(order - SHIFT, 0)).to(tl.int64), mask=inside)
    tl.store(block + cells, tl.load(token_ids + row * tokens + order, mask=inside, other=0), mask=inside)
    # A bidirectional pass predicts the position of each token itself, a causal one the next.
    follows = is_causal & (is_mask == 0)
    tl.store(position + cells, place + follows.to(tl.int32), mask=inside)
    count = tl.sum((wanted >= 0).to(tl.int32), 0)
    tl.store(valid + row, count)
    tl.store(verify_valid + row, tl.where(drafts > 0, drafts, count))
    rejects = tl.load(rejection + row) != 0
    # A draft that is verified by rejection must not share its random numbers with the verification.
    proposing = rejects & (is_causal == 0)
    tl.store(proposes + row, proposing)
    tl.store(stream + row, proposing.to(tl.int32))
    lists = cells[:, None] * LISTED + tl.arange(0, LISTED)[None, :]
    ids = tl.load(drafted_ids + lists, mask=inside[:, None], other=-1)
    tl.store(listed + lists, tl.where(rejects & is_causal, ids, -1), mask=inside[:, None])


def window_inputs(inputs: Mapping[str, Tensor], *, shifted: bool = False) -> dict[str, Tensor]:
    """Tensors of ``step.tensors`` by name, and ``rows`` [B, W] int64: the tokens among all T = B · S that have the
    window's logits.

    Args:
        inputs: those of the step contract.
        shifted: these are the tokens before those of the window (``model.family``).
    """
    logit_rows, token_ids = inputs["logit_rows"], inputs["tokens"]
    count, window = logit_rows.shape
    made = {
        name: torch.empty((count, window) if per_slot else (count,), dtype=dtype, device=logit_rows.device)
        for name, (dtype, per_slot) in _OUTPUTS.items()
    }
    made["drafted_ids"] = torch.empty_like(inputs["drafted_ids"])
    _window_inputs[(count,)](
        logit_rows, token_ids, inputs["cache_length"], inputs["valid_count"], inputs["causal"], inputs["segments"],
        inputs["rejection"], inputs["drafted_ids"], *made.values(), token_ids.shape[1], window,
        WINDOW=triton.next_power_of_2(window), LISTED=CANDIDATES, SHIFT=int(shifted), num_warps=1,
    )  # fmt: skip
    return made

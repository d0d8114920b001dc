# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The positions of a row's new tokens and the attention mask, computed from a few integers of the row.

In an ordinary pass the new tokens have consecutive positions. It is causal, or every token sees all new tokens. Of
families that see their prompts in blocks, a token of any pass sees its block and what is before it.

A quadratic pass (docs/model.md, Quadratic self-speculation) verifies k drafted tokens and drafts after each of them:
masks 1 .. k after draft i stand at the positions that follow it and see the cache, the drafts up to i and each other.
The drafts come first, at consecutive slots, and all masks come after them. So drafts are written to the cache where
they belong, and the accepted ones are kept by setting the row's length, as in any other pass: nothing has to be moved.

Shapes: B rows, S new tokens, L attended cache slots, k drafted tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nld_trt.graph.tape import Value, minimum, where

# More drafts than any pass has. Every token of an ordinary pass counts as one.
_ALL = 1 << 40


@dataclass(frozen=True)
class Layout:
    """Values that every layer uses, computed once per forward.

    Attributes:
        positions: [B, S] int64, absolute.
        write_at: [B] int64, the first cache slot of the new tokens.
        mask: [B, 1, S, L] bool, what each new token sees.
        drafts: [B, S] bool, the new tokens that draft passes run with the adapter.
    """

    positions: Value
    write_at: Value
    mask: Value
    drafts: Value


def record_layout(inputs: Mapping[str, Value], *, quadratic: bool, prompt_block: int = 0) -> Layout:
    """The layout of a forward.

    Args:
        inputs: those of the step contract.
        quadratic: rows may make quadratic passes.
        prompt_block: tokens of the blocks that see themselves in every pass, of ``contract.prompt_block``; such rows
            make no quadratic passes.
    """
    tokens = inputs["tokens"]
    tape = tokens.tape
    order = tape.arange(tokens.size(1))
    write_at = inputs["cache_length"].cast(np.int64)
    start = write_at.column()
    row_end = start + inputs["valid_count"].cast(np.int64).column()
    causal = inputs["causal"].column()
    slots = inputs["attended_slots"].cast(np.int64)

    def from_slot(bound: Value) -> Value:
        """[B, 1, S, L]: slots at or after ``bound`` [B, S]."""
        # Not(GreaterOrEqual) and not Less: TensorRT-RTX 1.7 cannot share a Less mask among many Attention nodes.
        return slots >= bound.unsqueeze(1, 3)

    if prompt_block:
        positions = start + order
        block_end = (positions // prompt_block + 1) * prompt_block
        return Layout(positions, write_at, ~from_slot(minimum(block_end, row_end)), ~causal)

    if not quadratic:
        positions = start + order
        # A query sees keys below its bound: its own position + 1, or the end of the row's new tokens.
        mask = ~from_slot(where(causal, positions + 1, row_end))
        return Layout(positions, write_at, mask, ~causal)

    count = inputs["segments"].cast(np.int64).column()
    drafted = where(count > 0, count, _ALL)
    # Of tokens after the drafts: the draft that they follow, and their distance from it.
    after = order - drafted
    segment = after // drafted
    distance = after - segment * drafted + 1
    is_mask = after >= 0
    own = where(is_mask, segment, order)
    positions = start + where(is_mask, segment + distance, order)

    bound = where(causal, start + own + 1, row_end)
    first = start + drafted + segment * drafted
    last = first + drafted
    outside = ~from_slot(where(is_mask, first, _ALL)) | from_slot(where(is_mask, last, _ALL))
    mask = ~(from_slot(bound) & outside)
    return Layout(positions, write_at, mask, ~causal | is_mask)

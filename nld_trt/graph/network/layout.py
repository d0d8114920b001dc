# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Where a row's new tokens stand and what they see, from the few integers that the row brings.

An ordinary pass holds tokens at consecutive positions: causal, or every one sees all.

A quadratic pass (model-spec 3.5) verifies k drafted tokens and drafts behind each of them: masks 1 .. k behind draft i
stand at the positions after it, see the cache, the drafts up to i and each other. The drafts come first, at consecutive
slots, and the masks after them. So drafts are written to the cache where they belong, and keeping the accepted ones is
a matter of the row's length, as in any other pass: nothing has to be moved.

Shapes: B rows, S new tokens, C cache slots, k drafted tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from nld_trt.graph.tape import Tape

# More drafts than any pass has: every token of an ordinary pass is one.
_ALL = 1 << 40


@dataclass(frozen=True)
class Layout:
    """Names of values, computed once per forward.

    Attributes:
        positions: [B, S] int64, absolute.
        write_at: [B] int64, the first cache slot of the new tokens.
        mask: [B, 1, S, C] bool, what each new token sees.
        drafts: [B, S] bool, the new tokens that draft passes run with the adapter.
    """

    positions: str
    write_at: str
    mask: str
    drafts: str


def record_layout(tape: Tape, *, quadratic: bool) -> Layout:
    """Read the contract's inputs by name; ``quadratic`` allows quadratic passes beside ordinary ones."""
    width = tape.op("Squeeze", tape.op("Shape", "tokens", start=1, end=2), _number(tape, [0]))
    order = tape.op("Range", _number(tape, 0), width, _number(tape, 1))
    write_at = tape.op("Cast", "cache_length", to=TensorProto.INT64)
    start = _column(tape, write_at)
    row_end = tape.op("Add", start, _column(tape, tape.op("Cast", "valid_count", to=TensorProto.INT64)))
    causal = _column(tape, "causal")
    capacity = tape.op("Squeeze", tape.op("Shape", "past_key_0", start=2, end=3), _number(tape, [0]))
    slots = tape.op("Range", _number(tape, 0), capacity, _number(tape, 1))

    def from_slot(bound: str) -> str:
        """[B, 1, S, C]: slots at or behind ``bound`` [B, S]."""
        # Not(GreaterOrEqual) and not Less: TensorRT-RTX 1.7 cannot share a Less mask among many Attention nodes.
        return tape.op("GreaterOrEqual", slots, tape.op("Unsqueeze", bound, _number(tape, [1, 3])))

    if not quadratic:
        positions = tape.op("Add", start, order)
        own_end = tape.op("Add", positions, _number(tape, 1))
        # A query sees keys below its bound: its own position + 1, or the end of the row's new tokens.
        mask = tape.op("Not", from_slot(tape.op("Where", causal, own_end, row_end)))
        return Layout(positions, write_at, mask, tape.op("Not", causal))

    count = _column(tape, tape.op("Cast", "segments", to=TensorProto.INT64))
    is_quadratic = tape.op("Greater", count, _number(tape, 0))
    drafted = tape.op("Where", is_quadratic, count, _number(tape, _ALL))
    # Of tokens behind the drafts: the draft that they follow, and their distance from it.
    behind = tape.op("Sub", order, drafted)
    segment = tape.op("Div", behind, drafted)
    distance = tape.op("Add", tape.op("Sub", behind, tape.op("Mul", segment, drafted)), _number(tape, 1))
    is_mask = tape.op("GreaterOrEqual", behind, _number(tape, 0))
    own = tape.op("Where", is_mask, segment, order)
    positions = tape.op("Add", start, tape.op("Where", is_mask, tape.op("Add", segment, distance), order))

    own_end = tape.op("Add", tape.op("Add", start, own), _number(tape, 1))
    bound = tape.op("Where", causal, own_end, row_end)
    first = tape.op("Add", tape.op("Add", start, drafted), tape.op("Mul", segment, drafted))
    last = tape.op("Add", first, drafted)
    nowhere = _number(tape, _ALL)
    inside = [tape.op("Where", is_mask, edge, nowhere) for edge in (first, last)]
    outside = tape.op("Or", tape.op("Not", from_slot(inside[0])), from_slot(inside[1]))
    mask = tape.op("Not", tape.op("And", from_slot(bound), outside))
    return Layout(positions, write_at, mask, tape.op("Or", tape.op("Not", causal), is_mask))


def _column(tape: Tape, rows: str) -> str:
    """[B] to [B, 1]."""
    return tape.op("Unsqueeze", rows, _number(tape, [1]))


def _number(tape: Tape, value: npt.ArrayLike) -> str:
    return tape.constant(value, np.int64)

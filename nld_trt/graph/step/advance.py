# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A row's next pass from the results of this one, so that a loop can go on without asking the host.

What each mode does with a pass is in docs/model.md, from Autoregressive decoding to Quadratic self-speculation, and
this is the only place that says it in code. ``nld_trt.decode.modes`` opens a request; where the rows of a batch change,
the host copies what is computed here.

Shapes: B rows, W window tokens, k drafts of a quadratic pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import FunctionProto, TensorProto

from nld_trt import names
from nld_trt.graph import contract
from nld_trt.graph.step.first_token import first_token
from nld_trt.graph.tape import Tape, make_function

ADVANCE_INPUTS = (
    "block",
    "cache_length",
    "valid_count",
    "causal",
    "segments",
    "draw",
    "eos_token_id",
    "program",
    "room",
    "block_tokens",
    "masks_left",
    "verified_tokens",
    "accepted_count",
    "next_seed",
    "eos_position",
    "finite",
)
ADVANCE_OUTPUTS = ("next_tokens", "next_cache_length", "next_causal", "next_draw", "next_room")

_HOLD, _DIFFUSION, _QUADRATIC = (
    contract.PROGRAMS.index(name) for name in (names.HOLD, names.DIFFUSION, names.QUADRATIC)
)


def advance(mask_token_id: int) -> FunctionProto:
    """``Advance``: inputs and outputs are as in the step contract; block [B, W] int32 are the window tokens.

    A row stands still, its next pass being this one again, if it is told to (program 0), if it may commit no more
    (room 0), once this pass has committed EOS or all that it may, and where its logits are not finite; ``next_room`` is
    0 then. To make a pass again changes nothing: it writes the same values to the same cache slots.
    """

    def body(tape: Tape) -> None:
        goes = tape.op("Greater", "program", tape.constant(_HOLD, np.int32))
        goes = tape.op("And", goes, tape.op("Greater", "room", tape.constant(0, np.int32)))
        results = _next(tape, goes, mask_token_id)
        for name, value in zip(ADVANCE_OUTPUTS, results, strict=True):
            tape.op("Identity", value, name=name)

    return make_function("Advance", ADVANCE_INPUTS, ADVANCE_OUTPUTS, body)


def _next(tape: Tape, goes: str, mask_token_id: int) -> Sequence[str]:
    width = tape.op("Cast", tape.op("Squeeze", tape.op("Shape", "block", start=1, end=2)), to=TensorProto.INT32)
    slots = tape.op("Range", _int32(tape, 0), width, _int32(tape, 1))
    mask = _int32(tape, mask_token_id)
    real = tape.op("Less", slots, _column(tape, "valid_count"))
    is_diffusion, is_quadratic = (
        tape.op("Equal", "program", _int32(tape, number)) for number in (_DIFFUSION, _QUADRATIC)
    )

    # Whether a bidirectional pass leaves nothing to fill; what a causal one commits, and the first token behind it.
    filled = tape.op("Equal", "masks_left", _int32(tape, 0))
    ends = tape.op("Less", "eos_position", width)
    usual = (filled, "next_seed", "accepted_count", ends)
    filled, seed, committed, ends = _denoised(tape, is_diffusion, slots, width, real, mask, usual)
    room = tape.op("Sub", "room", committed)
    ends = tape.op("Or", ends, tape.op("LessOrEqual", room, _int32(tape, 0)))
    ended = tape.op("And", "causal", ends)
    moves = tape.op("And", goes, tape.op("Not", ended))
    # Of other logits the kernels choose no token at all, and none would be a place in the embedding.
    moves = tape.op("And", moves, tape.op("Cast", "finite", to=TensorProto.BOOL))

    first = _column(tape, seed)
    is_first = tape.op("Equal", slots, _int32(tape, 0))
    rest = tape.op("Where", real, mask, _int32(tape, 0))
    # A block of one has nothing to draft or denoise; quadratic passes draft by themselves.
    whole = tape.op("Equal", "valid_count", _int32(tape, 1))
    whole = tape.op("Or", is_quadratic, whole)
    opened = tape.op("Where", is_first, first, _redrafted(tape, slots, rest))
    tokens = tape.op("Where", _column(tape, "causal"), opened, "block_tokens")
    again = tape.op("And", is_diffusion, tape.op("Not", tape.op("Or", "causal", filled)))
    draw = tape.op("Where", again, tape.op("Add", "draw", _int32(tape, 1)), _int32(tape, 0))
    commits = tape.op("And", moves, "causal")
    left = tape.op("Where", goes, _int32(tape, 0), "room")
    return [
        tape.op("Where", _column(tape, moves), tokens, "block"),
        tape.op("Add", "cache_length", tape.op("Where", commits, committed, _int32(tape, 0))),
        _either(tape, moves, _either(tape, "causal", whole, filled), "causal"),
        tape.op("Where", moves, draw, "draw"),
        tape.op("Where", moves, tape.op("Where", "causal", room, "room"), left),
    ]


def _denoised(
    tape: Tape, is_diffusion: str, slots: str, width: str, real: str, mask: str, usual: Sequence[str]
) -> Sequence[str]:
    """``usual`` (filled, seed, committed, ends), each [B], with that of diffusion in its rows."""

    def first(tokens: str, wanted: str) -> str:
        return first_token(tape, tokens, real, wanted, slots, width)

    # An answer that is complete needs none of the masks behind its EOS.
    masks = tape.op("Unsqueeze", mask, tape.constant([0, 1], np.int64))
    complete = tape.op("Less", first("block_tokens", "eos_token_id"), first("block_tokens", masks))
    last = tape.op("GatherElements", "verified_tokens", _column(tape, _last_slot(tape, width)), axis=1)
    last = tape.op("Squeeze", last, tape.constant([1], np.int64))
    filled, seed, committed, ends = usual
    return [
        tape.op("Or", filled, tape.op("And", is_diffusion, complete)),
        tape.op("Where", is_diffusion, last, seed),
        tape.op("Where", is_diffusion, "valid_count", committed),
        _either(tape, is_diffusion, tape.op("Less", first("block", "eos_token_id"), width), ends),
    ]


def _redrafted(tape: Tape, slots: str, rest: str) -> str:
    """``rest`` [B, W] with the drafts of the next quadratic pass: those of the masks behind the last accepted token.

    Behind draft i = accepted - 1 the masks start at slot k + i * k, and mask j + 1 predicts what becomes draft j: mask
    1 stands where the verifier's own token goes. In other rows k is 0, and nothing changes.
    """
    count = _column(tape, "segments")
    is_draft = tape.op("Less", slots, count)
    source = tape.op("Add", tape.op("Mul", _column(tape, "accepted_count"), count), slots)
    source = tape.op("Where", is_draft, source, _int32(tape, 0))
    return tape.op("Where", is_draft, tape.op("GatherElements", "block_tokens", source, axis=1), rest)


def _last_slot(tape: Tape, width: str) -> str:
    """[B] int32: the last real window slot. Rows that stand still may have more new tokens than window slots."""
    one = tape.constant(1, np.int32)
    return tape.op("Sub", tape.op("Max", tape.op("Min", "valid_count", width), one), one)


def _either(tape: Tape, condition: str, yes: str, no: str) -> str:
    """Of flags: ONNX Runtime has no Where for them."""
    unless = tape.op("And", tape.op("Not", condition), no)
    return tape.op("Or", tape.op("And", condition, yes), unless)


def _column(tape: Tape, rows: str) -> str:
    """[B] to [B, 1]."""
    return tape.op("Unsqueeze", rows, tape.constant([1], np.int64))


def _int32(tape: Tape, value: int) -> str:
    return tape.constant(value, np.int32)

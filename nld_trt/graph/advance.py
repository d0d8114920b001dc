# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A row's next pass from the results of this one, so that a loop can go on without asking the host.

What each mode does with a pass is model-spec 3.2 to 3.5; the modes in ``nld_trt.decode`` say the same for the host,
which prefill, requests that come and go, stop strings and thinking budgets need. Tests hold the two together.

Shapes: B rows, W window tokens, k drafts of a quadratic pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import FunctionProto, TensorProto

from nld_trt.graph import contract
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
)
ADVANCE_OUTPUTS = ("next_tokens", "next_cache_length", "next_causal", "next_draw", "next_room")

_STAND_STILL = ("block", "cache_length", "causal", "draw", "room")
_ELEMENTS = (TensorProto.INT32, TensorProto.INT32, TensorProto.BOOL, TensorProto.INT32, TensorProto.INT32)
_HOLD, _DIFFUSION, _QUADRATIC = (contract.PROGRAMS.index(name) for name in ("hold", "diffusion", "quadratic"))
_LAST = -1


def advance(mask_token_id: int) -> FunctionProto:
    """``Advance``: inputs and outputs are as in the step contract; block [B, W] int32 are the window tokens.

    A row stands still, its next pass being this one again, if it is told to (program 0), if it may commit no more
    (room 0), and once this pass has committed EOS or all that it may; ``next_room`` is 0 then. To make a pass again
    changes nothing: it writes the same values to the same cache slots.
    """

    def body(tape: Tape) -> None:
        goes = tape.op("Greater", "program", tape.constant(_HOLD, np.int32))
        goes = tape.op("And", goes, tape.op("Greater", "room", tape.constant(0, np.int32)))
        going = tape.op("Cast", tape.op("ReduceMax", _int32(tape, goes), keepdims=0), to=TensorProto.BOOL)
        results = tape.when(
            going, lambda branch: _next(branch, goes, mask_token_id), lambda _: _STAND_STILL, elements=_ELEMENTS
        )
        for name, value in zip(ADVANCE_OUTPUTS, results, strict=True):
            tape.op("Identity", value, name=name)

    return make_function("Advance", ADVANCE_INPUTS, ADVANCE_OUTPUTS, body)


def _next(tape: Tape, goes: str, mask_token_id: int) -> Sequence[str]:
    def number(value: int) -> str:
        return tape.constant(value, np.int32)

    def column(rows: str) -> str:
        return tape.op("Unsqueeze", rows, tape.constant([1], np.int64))

    def where(condition: str, yes: str, no: str) -> str:
        return tape.op("Where", condition, yes, no)

    def either(condition: str, yes: str, no: str) -> str:
        # Of flags: ONNX Runtime has no Where for them.
        unless = tape.op("And", tape.op("Not", condition), no)
        return tape.op("Or", tape.op("And", condition, yes), unless)

    width = tape.op("Cast", tape.op("Squeeze", tape.op("Shape", "block", start=1, end=2)), to=TensorProto.INT32)
    slots = tape.op("Range", number(0), width, number(1))
    mask = number(mask_token_id)
    real = tape.op("Less", slots, column("valid_count"))
    is_diffusion = tape.op("Equal", "program", number(_DIFFUSION))

    def first(tokens: str, wanted: str) -> str:
        """[B]: the first real slot that holds a token, or W."""
        here = tape.op("And", tape.op("Equal", tokens, wanted), real)
        return tape.op("ReduceMin", where(here, slots, width), tape.constant([_LAST], np.int64), keepdims=0)

    # An answer that is complete needs none of the masks behind its EOS.
    eos = column("eos_token_id")
    complete = tape.op("And", is_diffusion, tape.op("Less", first("block_tokens", eos), first("block_tokens", mask)))
    filled = tape.op("Or", tape.op("Equal", "masks_left", number(0)), complete)

    # What a causal pass commits, and the first token behind it.
    last = tape.op("GatherElements", "verified_tokens", column(_last_slot(tape, width)), axis=1)
    last = tape.op("Squeeze", last, tape.constant([1], np.int64))
    seed = where(is_diffusion, last, "next_seed")
    committed = where(is_diffusion, "valid_count", "accepted_count")
    ends = either(is_diffusion, tape.op("Less", first("block", eos), width), tape.op("Less", "eos_position", width))
    room = tape.op("Sub", "room", committed)
    ends = tape.op("Or", ends, tape.op("LessOrEqual", room, number(0)))
    ended = tape.op("And", "causal", ends)
    moves = tape.op("And", goes, tape.op("Not", ended))

    is_first = tape.op("Equal", slots, number(0))
    fresh = where(is_first, column(seed), where(real, mask, number(0)))
    redrafted = where(is_first, column(seed), _redrafted(tape, slots, mask))
    is_quadratic = tape.op("Equal", "program", number(_QUADRATIC))
    opened = where(column(is_quadratic), redrafted, fresh)
    tokens = where(column("causal"), opened, "block_tokens")
    # A block of one has nothing to draft or denoise; quadratic passes draft by themselves.
    whole = tape.op("Or", is_quadratic, tape.op("Equal", "valid_count", number(1)))
    draw = where(tape.op("And", is_diffusion, tape.op("Not", filled)), tape.op("Add", "draw", number(1)), number(0))
    return [
        where(column(moves), tokens, "block"),
        tape.op("Add", "cache_length", where(tape.op("And", moves, "causal"), committed, number(0))),
        either(moves, either("causal", whole, filled), "causal"),
        where(moves, where("causal", number(0), draw), "draw"),
        where(moves, where("causal", room, "room"), where(goes, number(0), "room")),
    ]


def _redrafted(tape: Tape, slots: str, mask: str) -> str:
    """Tokens [B, W] of the next quadratic pass but the first: drafts from the masks behind the last accepted token.

    Behind draft i = accepted - 1 the masks start at slot k + i * k, and mask j + 1 predicts what becomes draft j: mask 1
    stands where the verifier's own token goes.
    """
    count = tape.op("Unsqueeze", "segments", tape.constant([1], np.int64))
    accepted = tape.op("Unsqueeze", "accepted_count", tape.constant([1], np.int64))
    is_draft = tape.op("Less", slots, count)
    source = tape.op("Add", tape.op("Mul", accepted, count), slots)
    source = tape.op("Where", is_draft, source, tape.constant(0, np.int32))
    drafts = tape.op("GatherElements", "block_tokens", source, axis=1)
    real = tape.op("Less", slots, tape.op("Unsqueeze", "valid_count", tape.constant([1], np.int64)))
    rest = tape.op("Where", real, mask, tape.constant(0, np.int32))
    return tape.op("Where", is_draft, drafts, rest)


def _last_slot(tape: Tape, width: str) -> str:
    """[B] int32: the last real window slot. Rows that stand still may have more new tokens than window slots."""
    one = tape.constant(1, np.int32)
    return tape.op("Sub", tape.op("Max", tape.op("Min", "valid_count", width), one), one)


def _int32(tape: Tape, flags: str) -> str:
    return tape.op("Cast", flags, to=TensorProto.INT32)

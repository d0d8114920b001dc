# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a slot draws: a token from softmax(z / T) over those that may be drawn.

A draw inverts the cumulative distribution in the order of token ids, with one random number per slot. That number is
a pure function of the request's seed, the absolute position of the token and the draw: what shares a batch, how a
prompt was chunked and which mode asks has no influence.

Where the block holds a drafted token and the distribution that it was drawn from, the draw is speculative rejection
sampling (Leviathan, Kalman and Matias, "Fast inference from transformers via speculative decoding", ICML 2023,
section 2.3): the drafted token stays with probability min(1, p / q), else the slot gets a draw from what p has more
than q. Either way the slot's token is distributed as p. A rejected token has p < q, so it is never drawn again, and
"the slot's token is the drafted one" says whether it was accepted.

Shapes: B rows, W window tokens, V vocabulary, N drawn slots, K candidates, G tokens per group, C groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from nld_trt.graph.network.linear import Dialect
from nld_trt.graph.step.candidates import CANDIDATES
from nld_trt.graph.step.philox import uniforms
from nld_trt.graph.step.scores import COLDEST
from nld_trt.graph.step.slots import DrawnSlots
from nld_trt.graph.tape import Tape

# Cumulative sums run over groups first and inside one group then: two short sums and not one over the vocabulary.
_GROUP = 256
_LAST = -1


@dataclass(frozen=True)
class Weights:
    """Of tokens that may be drawn: exp((z - max z) / T), 0 for the others.

    Attributes:
        groups: [N, C, G] float32, padded with zeros.
        flat: [N, C * G] float32.
        total: [N, 1] float32.
    """

    groups: str
    flat: str
    total: str


@dataclass(frozen=True)
class Draft:
    """What stands behind each slot, and the distribution that it was drawn from.

    Attributes:
        tokens: [N] int64.
        ids: [N, K] int64, the candidates, 0 where there is none.
        taken: [N, K] float32, the part of a candidate's weight that its share in the draft covers; 0 where there is no
            candidate, or where the drafted token is not among them.
        accepted: [N] bool.
    """

    tokens: str
    ids: str
    taken: str
    accepted: str


def draw_tokens(tape: Tape, slots: DrawnSlots, scores: str, vocab_size: int, dialect: Dialect) -> str:
    """Token ids [N] int64. Reads the inputs of ``ChooseTokens`` by name.

    Args:
        scores: [N, V] float32 logits, minus infinity where a token must not be chosen.
    """
    first, second = uniforms(
        tape,
        dialect,
        seed=slots.rows("seed"),
        stream=slots.rows("stream"),
        position=slots.cells("position"),
        draw=slots.rows("draw"),
    )
    weights = _weights(tape, slots, scores, vocab_size)
    draft = _draft(tape, slots, weights, second)
    groups = weights.groups
    sums = tape.op("ReduceSum", groups, _number(tape, [_LAST]), keepdims=0)
    count = -(-vocab_size // _GROUP)
    sums = tape.op("Sub", sums, _by_place(tape, tape.op("Div", draft.ids, _number(tape, _GROUP)), draft.taken, count))
    running = tape.op("CumSum", sums, _number(tape, 1))
    end = tape.op("Slice", running, *(_number(tape, [value]) for value in (count - 1, count, 1)))
    target = tape.op("Mul", _column(tape, first), end)

    below = tape.op("LessOrEqual", running, target)
    group = tape.op("ReduceSum", tape.op("Cast", below, to=TensorProto.INT64), _number(tape, [_LAST]), keepdims=1)
    # Rounding can leave no group whose sum goes beyond the target where hardly anything is left to draw from.
    group = tape.op("Min", group, _number(tape, count - 1))
    passed = tape.op("Where", below, sums, tape.constant(0.0, np.float32))
    rest = tape.op("Sub", target, tape.op("ReduceSum", passed, _number(tape, [_LAST]), keepdims=1))

    token = tape.op("Add", tape.op("Mul", group, _number(tape, _GROUP)), _inside(tape, weights, draft, group, rest))
    token = tape.op("Squeeze", token, _number(tape, [_LAST]))
    # Rounding can also leave nothing of p where it is nearly q: then the drafted token was as good as accepted.
    nothing = tape.op("LessOrEqual", end, tape.constant(0.0, np.float32))
    kept = tape.op("Or", draft.accepted, tape.op("Squeeze", nothing, _number(tape, [_LAST])))
    return tape.op("Where", kept, draft.tokens, token)


def _weights(tape: Tape, slots: DrawnSlots, scores: str, vocab_size: int) -> Weights:
    kept = tape.op("GreaterOrEqual", scores, _column(tape, slots.cells("cut")))
    best = tape.op("ReduceMax", scores, _number(tape, [_LAST]), keepdims=1)
    divisor = tape.op("Max", _column(tape, slots.rows("temperature")), tape.constant(COLDEST, np.float32))
    # (z - max z) / T and not z / T, which would overflow and lose digits at low temperatures.
    scaled = tape.op("Div", tape.op("Sub", scores, best), divisor)
    flat = tape.op("Where", kept, tape.op("Exp", scaled), tape.constant(0.0, np.float32))
    if missing := -vocab_size % _GROUP:
        flat = tape.op("Pad", flat, _number(tape, [0, missing]), tape.constant(0.0, np.float32), _number(tape, [1]))
    groups = tape.op("Reshape", flat, _number(tape, [0, -1, _GROUP]))
    return Weights(groups, flat, tape.op("ReduceSum", flat, _number(tape, [_LAST]), keepdims=1))


def _draft(tape: Tape, slots: DrawnSlots, weights: Weights, uniform: str) -> Draft:
    one = _number(tape, 1)
    valid = tape.op("Cast", slots.rows("valid"), to=TensorProto.INT64)
    has_draft = tape.op("Less", tape.op("Add", slots.places, one), valid)
    tokens = tape.op("Cast", slots.following_cells("block"), to=TensorProto.INT64)
    ids = tape.op("Cast", slots.following_lists("drafted_ids", CANDIDATES), to=TensorProto.INT64)
    shares = slots.following_lists("drafted_shares", CANDIDATES)
    real = tape.op("GreaterOrEqual", ids, _number(tape, 0))
    is_token = tape.op("And", real, tape.op("Equal", ids, _column(tape, tokens)))
    none = tape.constant(0.0, np.float32)
    share = tape.op("ReduceSum", tape.op("Where", is_token, shares, none), _number(tape, [_LAST]), keepdims=1)
    listed = tape.op("And", _column(tape, has_draft), tape.op("Greater", share, none))

    places = tape.op("Max", ids, _number(tape, 0))
    weight = tape.op("GatherElements", weights.flat, places, axis=1)
    covered = tape.op("Min", weight, tape.op("Mul", shares, weights.total))
    taken = tape.op("Where", tape.op("And", real, listed), covered, none)

    own = tape.op("ReduceSum", tape.op("Where", is_token, weight, none), _number(tape, [_LAST]), keepdims=1)
    needed = tape.op("Mul", tape.op("Mul", _column(tape, uniform), share), weights.total)
    accepted = tape.op("And", listed, tape.op("Less", needed, own))
    return Draft(tokens, places, taken, tape.op("Squeeze", accepted, _number(tape, [_LAST])))


def _inside(tape: Tape, weights: Weights, draft: Draft, group: str, rest: str) -> str:
    """Which token of a group [N, 1] brings its cumulative weight beyond ``rest`` [N, 1]: [N, 1] int64."""
    chosen = tape.op("GatherND", weights.groups, group, batch_dims=1)
    first = tape.op("Mul", group, _number(tape, _GROUP))
    chosen = tape.op("Sub", chosen, _by_place(tape, tape.op("Sub", draft.ids, first), draft.taken, _GROUP))
    running = tape.op("CumSum", chosen, _number(tape, 1))
    offsets = tape.constant(np.arange(_GROUP), np.int64)
    drawable = tape.op("Greater", chosen, tape.constant(0.0, np.float32))
    beyond = tape.op("And", drawable, tape.op("Greater", running, rest))
    hit = tape.op(
        "ReduceMin", tape.op("Where", beyond, offsets, _number(tape, _GROUP)), _number(tape, [_LAST]), keepdims=1
    )
    # Where rounding leaves none, the last that can be drawn.
    highest = tape.op(
        "ReduceMax", tape.op("Where", drawable, offsets, _number(tape, 0)), _number(tape, [_LAST]), keepdims=1
    )
    return tape.op("Where", tape.op("Less", hit, _number(tape, _GROUP)), hit, highest)


def _by_place(tape: Tape, places: str, amounts: str, count: int) -> str:
    """Amounts [N, K] added up by their places [N, K]: [N, count]."""
    here = tape.op(
        "Equal",
        tape.op("Unsqueeze", places, _number(tape, [1])),
        tape.constant(np.arange(count)[:, None], np.int64),
    )
    amount = tape.op("Where", here, tape.op("Unsqueeze", amounts, _number(tape, [1])), tape.constant(0.0, np.float32))
    return tape.op("ReduceSum", amount, _number(tape, [_LAST]), keepdims=0)


def _column(tape: Tape, value: str) -> str:
    """[N] to [N, 1]."""
    return tape.op("Unsqueeze", value, _number(tape, [_LAST]))


def _number(tape: Tape, value: npt.ArrayLike) -> str:
    return tape.constant(value, np.int64)

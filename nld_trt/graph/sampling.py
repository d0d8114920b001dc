# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Which token a slot gets: the likeliest, or a draw from softmax(z / T) over the tokens that may be drawn.

A draw inverts the cumulative distribution in the order of token ids, with one random number per slot. That number is
a pure function of the request's seed, the absolute position of the token and the draw: what shares a batch, how a
prompt was chunked and which mode asks has no influence.

Where the block holds a drafted token and the distribution that it was drawn from, the draw is speculative rejection
sampling (Leviathan, Kalman and Matias, "Fast inference from transformers via speculative decoding", ICML 2023,
section 2.3): the drafted token stays with probability min(1, p / q), else the slot gets a draw from what p has more
than q. Either way the slot's token is distributed as p. A rejected token has p < q, so it is never drawn again, and
"the slot's token is the drafted one" says whether it was accepted.

Shapes: B rows, W window tokens, V vocabulary, K candidates, G tokens per group, C groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from nld_trt.graph.linear import Dialect
from nld_trt.graph.philox import ARITHMETIC, uniforms
from nld_trt.graph.scores import COLDEST, allowed_scores, any_row, columns, vocabulary
from nld_trt.graph.tape import Tape

# Cumulative sums run over groups first and inside one group then: two short sums and not one over the vocabulary.
_GROUP = 256
_LAST = -1


@dataclass(frozen=True)
class Weights:
    """Of tokens that may be drawn: exp((z - max z) / T), 0 for the others.

    Attributes:
        groups: [B, W, C, G] float32, padded with zeros.
        flat: [B, W, C * G] float32.
        total: [B, W, 1] float32.
    """

    groups: str
    flat: str
    total: str


@dataclass(frozen=True)
class Draft:
    """What stands behind each slot, and the distribution that it was drawn from.

    Attributes:
        tokens: [B, W] int32.
        ids: [B, W, K] int64, the candidates, 0 where there is none.
        taken: [B, W, K] float32, the part of a candidate's weight that its share in the draft covers; 0 where there is
            no candidate, or where the drafted token is not among them.
        accepted: [B, W] bool.
    """

    tokens: str
    ids: str
    taken: str
    accepted: str


def draw_tokens(tape: Tape, greedy: str, mask_token_id: int, dialect: Dialect) -> str:
    """Token ids [B, W] int64: ``greedy`` in rows at temperature 0, else a draw.

    Nothing but ``greedy`` is computed unless some row is warm. Reads the inputs of ``ChooseTokens`` by name.
    """
    warm = tape.op("Greater", "temperature", tape.constant(0.0, np.float32))

    def draw(branch: Tape) -> Sequence[str]:
        drawn = _drawn(branch, mask_token_id, dialect)
        return [branch.op("Where", branch.op("Unsqueeze", warm, branch.constant([1], np.int64)), drawn, greedy)]

    return tape.when(any_row(tape, warm), draw, lambda _: [greedy], elements=[TensorProto.INT64])[0]


def _drawn(tape: Tape, mask_token_id: int, dialect: Dialect) -> str:
    """[B, W] int64."""
    first, second = uniforms(
        tape, ARITHMETIC[dialect], seed="seed", stream="stream", position="position", draw="draw"
    )
    weights = _weights(tape, mask_token_id)
    draft = _draft(tape, weights, second)
    taken_by_group = _by_place(tape, tape.op("Div", draft.ids, _number(tape, _GROUP)), draft.taken, weights.groups)
    sums = tape.op("ReduceSum", weights.groups, _number(tape, [_LAST]), keepdims=0)
    sums = tape.op("Sub", sums, taken_by_group)
    running = tape.op("CumSum", sums, _number(tape, 2))
    end = tape.op("Slice", running, _number(tape, [-1]), _number(tape, [np.iinfo(np.int64).max]), _number(tape, [2]))
    target = tape.op("Mul", tape.op("Unsqueeze", first, _number(tape, [_LAST])), end)

    below = tape.op("LessOrEqual", running, target)
    group = tape.op("ReduceSum", tape.op("Cast", below, to=TensorProto.INT64), _number(tape, [_LAST]), keepdims=1)
    # Rounding can leave no group whose sum goes beyond the target where hardly anything is left to draw from.
    last_group = tape.op("Sub", tape.op("Shape", weights.groups, start=2, end=3), _number(tape, [1]))
    group = tape.op("Min", group, last_group)
    passed = tape.op("Where", below, sums, tape.constant(0.0, np.float32))
    rest = tape.op("Sub", target, tape.op("ReduceSum", passed, _number(tape, [_LAST]), keepdims=1))

    offset = _inside(tape, weights, draft, group, rest)
    token = tape.op("Add", tape.op("Mul", group, _number(tape, _GROUP)), offset)
    token = tape.op("Squeeze", token, _number(tape, [_LAST]))
    # Rounding can also leave nothing of p where it is nearly q: then the drafted token was as good as accepted.
    nothing = tape.op("LessOrEqual", end, tape.constant(0.0, np.float32))
    kept = tape.op("Or", draft.accepted, tape.op("Squeeze", nothing, _number(tape, [_LAST])))
    return tape.op("Where", kept, tape.op("Cast", draft.tokens, to=TensorProto.INT64), token)


def _weights(tape: Tape, mask_token_id: int) -> Weights:
    scores = allowed_scores(tape, "logits", mask_token_id)
    kept = tape.op("GreaterOrEqual", scores, tape.op("Unsqueeze", "cut", _number(tape, [_LAST])))
    best = tape.op("ReduceMax", scores, _number(tape, [_LAST]), keepdims=1)
    divisor = tape.op("Max", columns(tape, "temperature"), tape.constant(COLDEST, np.float32))
    # (z - max z) / T and not z / T, which would overflow and lose digits at low temperatures.
    scaled = tape.op("Div", tape.op("Sub", scores, best), divisor)
    weight = tape.op("Where", kept, tape.op("Exp", scaled), tape.constant(0.0, np.float32))
    size = vocabulary(tape, "logits")
    missing = tape.op("Mod", tape.op("Neg", size), _number(tape, _GROUP))
    pads = tape.op("Concat", _number(tape, [0]), tape.op("Unsqueeze", missing, _number(tape, [0])), axis=0)
    flat = tape.op("Pad", weight, pads, tape.constant(0.0, np.float32), _number(tape, [2]))
    groups = tape.op("Reshape", flat, _number(tape, [0, 0, -1, _GROUP]))
    return Weights(groups, flat, tape.op("ReduceSum", weight, _number(tape, [_LAST]), keepdims=1))


def _draft(tape: Tape, weights: Weights, uniform: str) -> Draft:
    tokens = following(tape, "block")
    slots = tape.op("Range", *(_int32(tape, value) for value in (0,)), _width(tape), _int32(tape, 1))
    has_draft = tape.op(
        "Less",
        tape.op("Add", slots, _int32(tape, 1)),
        tape.op("Unsqueeze", "valid", _number(tape, [1])),
    )
    ids = following(tape, "drafted_ids", fill=-1)
    shares = following(tape, "drafted_shares", fill=0)
    real = tape.op("GreaterOrEqual", ids, _int32(tape, 0))
    is_token = tape.op("And", real, tape.op("Equal", ids, tape.op("Unsqueeze", tokens, _number(tape, [_LAST]))))
    none = tape.constant(0.0, np.float32)
    share = tape.op("ReduceSum", tape.op("Where", is_token, shares, none), _number(tape, [_LAST]), keepdims=1)
    listed = tape.op("And", tape.op("Unsqueeze", has_draft, _number(tape, [_LAST])), tape.op("Greater", share, none))

    places = tape.op("Cast", tape.op("Max", ids, _int32(tape, 0)), to=TensorProto.INT64)
    weight = tape.op("GatherElements", weights.flat, places, axis=2)
    covered = tape.op("Min", weight, tape.op("Mul", shares, weights.total))
    taken = tape.op("Where", tape.op("And", real, listed), covered, none)

    own = tape.op("ReduceSum", tape.op("Where", is_token, weight, none), _number(tape, [_LAST]), keepdims=1)
    needed = tape.op(
        "Mul", tape.op("Mul", tape.op("Unsqueeze", uniform, _number(tape, [_LAST])), share), weights.total
    )
    accepted = tape.op("And", listed, tape.op("Less", needed, own))
    return Draft(tokens, places, taken, tape.op("Squeeze", accepted, _number(tape, [_LAST])))


def _inside(tape: Tape, weights: Weights, draft: Draft, group: str, rest: str) -> str:
    """Which token of a group [B, W, 1] brings its cumulative weight beyond ``rest`` [B, W, 1]: [B, W, 1] int64."""
    chosen = tape.op("GatherND", weights.groups, group, batch_dims=2)
    first = tape.op("Mul", group, _number(tape, _GROUP))
    taken = _by_place(tape, tape.op("Sub", draft.ids, first), draft.taken, chosen, axis=2)
    chosen = tape.op("Sub", chosen, taken)
    running = tape.op("CumSum", chosen, _number(tape, 2))
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


def _by_place(tape: Tape, places: str, amounts: str, like: str, *, axis: int = 2) -> str:
    """Amounts [B, W, K] added up by their places [B, W, K]: [B, W, N], N the size of ``like``'s axis."""
    size = tape.op("Squeeze", tape.op("Shape", like, start=axis, end=axis + 1), _number(tape, [0]))
    all_places = tape.op("Range", _number(tape, 0), size, _number(tape, 1))
    here = tape.op(
        "Equal", tape.op("Unsqueeze", places, _number(tape, [2])), tape.op("Unsqueeze", all_places, _number(tape, [1]))
    )
    amount = tape.op("Where", here, tape.op("Unsqueeze", amounts, _number(tape, [2])), tape.constant(0.0, np.float32))
    return tape.op("ReduceSum", amount, _number(tape, [_LAST]), keepdims=0)


def following(tape: Tape, value: str, *, fill: int = -1) -> str:
    """What the next slot holds, along axis 1, and ``fill`` behind the last slot."""
    shifted = tape.op("Slice", value, *(_number(tape, [end]) for end in (1, np.iinfo(np.int64).max, 1)))
    dtype = np.float32 if value == "drafted_shares" else np.int32
    return tape.op("Pad", shifted, _number(tape, [0, 1]), tape.constant(fill, dtype), _number(tape, [1]))


def _width(tape: Tape) -> str:
    width = tape.op("Squeeze", tape.op("Shape", "block", start=1, end=2), _number(tape, [0]))
    return tape.op("Cast", width, to=TensorProto.INT32)


def _number(tape: Tape, value: npt.ArrayLike) -> str:
    return tape.constant(value, np.int64)


def _int32(tape: Tape, value: int) -> str:
    return tape.constant(value, np.int32)

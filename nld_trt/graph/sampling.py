# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Which token a slot gets: the likeliest, or a draw from softmax(z / T) over the tokens that the filters keep.

A draw is the argmax of z_v / T + g_v with Gumbel noise g (Gumbel-max). The noise is a pure function of the
request's seed, the absolute position of the token, the draw and the token id: what shares a batch, how a prompt was
chunked and which mode asks has no influence, and two predictions of one position are coupled by common noise.

Shapes: B rows, W window tokens, V vocabulary.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from nld_trt.graph.filters import find_cut
from nld_trt.graph.linear import Dialect
from nld_trt.graph.philox import ARITHMETIC, gumbel_noise
from nld_trt.graph.tape import Tape

# Of an operator that samples: [B] each, but position, which is [B, W].
SAMPLING_INPUTS = ("temperature", "top_k", "top_p", "min_p", "seed", "draw", "position")

# Dividing by less would overflow; the likeliest token wins at this temperature with certainty.
_COLDEST = 1e-30
_LAST = -1


def choose_tokens(tape: Tape, allowed: str, dialect: Dialect) -> str:
    """Token ids [B, W] int32; the lowest id wins a tie.

    Rows at temperature 0 get the argmax of their logits. Nothing else is computed unless some row is warmer, and
    no filter unless some warm row has one.

    Args:
        allowed: [B, W, V] float32 logits, minus infinity where a token must not be chosen. The operator's
            ``SAMPLING_INPUTS`` are read by name.
    """
    warm = tape.op("Greater", "temperature", tape.constant(0.0, np.float32))
    # TensorRT for RTX compiles no branch within a branch, so the filters have one of their own.
    cut = tape.when(
        _any(tape, tape.op("And", warm, _filtered(tape))),
        lambda branch: find_cut(
            branch, _scores(branch, allowed), dialect, top_k="top_k", top_p="top_p", min_p="min_p"
        ),
        lambda branch: _no_cut(branch, allowed),
        element=TensorProto.FLOAT,
    )
    ids = tape.when(
        _any(tape, warm),
        lambda branch: _argmax(branch, _perturbed(branch, allowed, warm, cut, dialect)),
        lambda branch: _argmax(branch, allowed),
        element=TensorProto.INT64,
    )
    return tape.op("Cast", ids, to=TensorProto.INT32)


def _perturbed(tape: Tape, allowed: str, warm: str, cut: str, dialect: Dialect) -> str:
    """Scores [B, W, V] whose argmax is the choice: noisy in warm rows, the logits themselves in the others."""
    scores = _scores(tape, allowed)
    size = tape.op("Squeeze", tape.op("Shape", allowed, start=2, end=3), tape.constant([0], np.int64))
    noise = gumbel_noise(tape, ARITHMETIC[dialect], size=size, seed="seed", position="position", draw="draw")
    kept = tape.op("GreaterOrEqual", scores, cut)
    drawn = tape.op("Where", kept, tape.op("Add", scores, noise), tape.constant(-np.inf, np.float32))
    return tape.op("Where", _columns(tape, warm), drawn, allowed)


def _no_cut(tape: Tape, allowed: str) -> str:
    """Minus infinity, [B, W, 1]: a shape that does not depend on the branch, by reading one column of [B, W, V]."""
    zero, one, vocabulary = (tape.constant([value], np.int64) for value in (0, 1, 2))
    column = tape.op("Slice", allowed, zero, one, vocabulary)
    return tape.op("Min", column, tape.constant(-np.inf, np.float32))


def _scores(tape: Tape, allowed: str) -> str:
    """(z - max z) / T, [B, W, V]: z / T itself would overflow, and lose digits, at low temperatures."""
    best = tape.op("ReduceMax", allowed, tape.constant([_LAST], np.int64), keepdims=1)
    divisor = tape.op("Max", _columns(tape, "temperature"), tape.constant(_COLDEST, np.float32))
    return tape.op("Div", tape.op("Sub", allowed, best), divisor)


def _filtered(tape: Tape) -> str:
    """[B] bool: the row has a filter."""
    by_rank = tape.op("Greater", "top_k", tape.constant(0, np.int32))
    by_share = tape.op("Less", "top_p", tape.constant(1.0, np.float32))
    by_ratio = tape.op("Greater", "min_p", tape.constant(0.0, np.float32))
    return tape.op("Or", tape.op("Or", by_rank, by_share), by_ratio)


def _any(tape: Tape, rows: str) -> str:
    """Scalar bool."""
    most = tape.op("ReduceMax", tape.op("Cast", rows, to=TensorProto.INT32), keepdims=0)
    return tape.op("Cast", most, to=TensorProto.BOOL)


def _columns(tape: Tape, rows: str) -> str:
    """[B] to [B, 1, 1]."""
    return tape.op("Unsqueeze", rows, tape.constant([1, 2], np.int64))


def _argmax(tape: Tape, scores: str) -> str:
    return tape.op("ArgMax", scores, axis=_LAST, keepdims=0, select_last_index=0)

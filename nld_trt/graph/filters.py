# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""top_k, top_p and min_p as cuts: tokens whose score is at least the cut can be drawn, the others cannot.

A cut is found by division of an interval and not by sorting: TensorRT sorts at most 3840 values, and a vocabulary
has more.

Shapes: B rows, W window tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from nld_trt.graph.linear import Dialect
from nld_trt.graph.tape import Tape

# Scores are (z - max z) / T. Noise lies between -2.9 and 16.7, so no token this far below the best is ever drawn.
_REACH = 32.0
# Cuts lie on a grid of 2^-22: scores nearer to a cut than that count as ties with it.
_DIVISIONS = 28
# log2 of how many parts one pass over the vocabulary tells apart. More parts are fewer nodes, which compile for long,
# and more memory where a runtime does not fuse the comparison into the sum.
_PARTS: Mapping[Dialect, int] = {"onnxruntime": 2, "tensorrt": 4}

_LAST = -1


def find_cut(tape: Tape, scores: str, dialect: Dialect, *, top_k: str, top_p: str, min_p: str) -> str:
    """Cut [B, W, 1] float32 of every slot, minus infinity where nothing is cut.

    The filters apply one after another, each to what the one before has left: top_k keeps the k largest scores,
    top_p the fewest most likely tokens whose share of what is left reaches it, min_p those at least that likely
    compared with the likeliest. All scores equal to a cut stay.

    Args:
        scores: [B, W, V] float32, the largest of a slot 0; a token's likelihood is exp(score).
        top_k: [B] int32, 0 for no such filter.
        top_p: [B] float32, 1 for no such filter.
        min_p: [B] float32, 0 for no such filter.
    """
    off, zero, one = (tape.constant(value, np.float32) for value in (-np.inf, 0.0, 1.0))
    bits = _PARTS[dialect]

    def column(value: str) -> str:
        return tape.op("Unsqueeze", value, tape.constant([1, 2], np.int64))

    count = column(tape.op("Cast", top_k, to=TensorProto.FLOAT))
    by_rank = tape.op("Where", tape.op("Greater", count, zero), _largest_cut(tape, scores, one, count, bits), off)
    # What top_k cut weighs nothing: then top_p sees only what is left.
    kept = tape.op("GreaterOrEqual", scores, by_rank)
    weights = tape.op("Where", kept, tape.op("Exp", scores), zero)
    share = column(top_p)
    wanted = tape.op("Mul", share, tape.op("ReduceSum", weights, tape.constant([_LAST], np.int64), keepdims=1))
    listed = tape.op("Unsqueeze", weights, tape.constant([_LAST], np.int64))
    by_share = tape.op("Where", tape.op("Less", share, one), _largest_cut(tape, scores, listed, wanted, bits), off)
    return tape.op("Max", by_rank, by_share, column(tape.op("Log", min_p)))


def _largest_cut(tape: Tape, scores: str, weights: str, wanted: str, bits: int) -> str:
    """The largest cut [B, W, 1] on the grid for which tokens at or above it weigh at least ``wanted`` together.

    Args:
        weights: of tokens, [B, W, V, 1] or a scalar for all.
        wanted: [B, W, 1].
        bits: log2 of the parts into which one pass divides what is left.
    """
    listed = tape.op("Unsqueeze", scores, tape.constant([_LAST], np.int64))
    cut = tape.constant(-_REACH, np.float32)
    for divided in range(bits, _DIVISIONS + 1, bits):
        step = 2 * _REACH / 2.0**divided
        higher = tape.op("Add", cut, tape.constant(step * np.arange(1, 2**bits), np.float32))
        inside = tape.op("GreaterOrEqual", listed, tape.op("Unsqueeze", higher, tape.constant([-2], np.int64)))
        weight = tape.op("Where", inside, weights, tape.constant(0.0, np.float32))
        totals = tape.op("ReduceSum", weight, tape.constant([-2], np.int64), keepdims=0)
        # The totals fall as the cuts rise, so that those which reach what is wanted come first.
        reached = tape.op("Cast", tape.op("GreaterOrEqual", totals, wanted), to=TensorProto.FLOAT)
        passed = tape.op("ReduceSum", reached, tape.constant([_LAST], np.int64), keepdims=1)
        cut = tape.op("Add", cut, tape.op("Mul", passed, tape.constant(step, np.float32)))
    return cut

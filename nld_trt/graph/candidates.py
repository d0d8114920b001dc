# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Which tokens may be drawn, as a cut on their logits, and the few that a draft is drawn from.

Drafts that are verified by rejection are drawn from their K likeliest tokens only. Rejection sampling is right for any
distribution of drafts as long as it is known exactly, and so it is a list of K ids and shares: small enough to stay
beside the block until it is verified.

Shapes: B rows, W window tokens, V vocabulary, K candidates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import FunctionProto, TensorProto

from nld_trt.graph.filters import find_cut
from nld_trt.graph.linear import Dialect
from nld_trt.graph.scores import COLDEST, allowed_scores, any_row, columns
from nld_trt.graph.tape import Tape, make_function

CANDIDATES = 8

CANDIDATE_INPUTS = ("logits", "temperature", "top_k", "top_p", "min_p", "proposes")
CANDIDATE_OUTPUTS = ("cut", "candidate_ids", "candidate_shares")

_LAST = -1
_ELEMENTS = {"cut": TensorProto.FLOAT, "candidate_ids": TensorProto.INT32, "candidate_shares": TensorProto.FLOAT}


def draft_candidates(mask_token_id: int, dialect: Dialect) -> FunctionProto:
    """``DraftCandidates``: what a row's filters leave, and what its drafts are drawn from.

    Inputs: logits [B, W, V] any float, temperature [B] float32, top_k [B] int32 (0: no such filter), top_p [B] float32
    (1), min_p [B] float32 (0), proposes [B] bool (the row drafts for rejection sampling).

    Outputs: cut [B, W] float32, tokens with a smaller logit are not drawn; candidate_ids [B, W, K] int32, -1 behind the
    last, and candidate_shares [B, W, K] float32, what each is drawn with at the row's temperature; no candidates in
    other rows, and where more than K tokens tie for the first place.
    """

    def body(tape: Tape) -> None:
        warm = tape.op("Greater", "temperature", tape.constant(0.0, np.float32))
        # TensorRT for RTX compiles no branch within a branch: the two stand side by side.
        (filtered,) = tape.when(
            any_row(tape, tape.op("And", warm, _filtered(tape))),
            lambda branch: [_filter_cut(branch, mask_token_id, dialect)],
            lambda branch: [_column(branch, -np.inf)],
            elements=[TensorProto.FLOAT],
        )
        results = tape.when(
            any_row(tape, tape.op("And", warm, "proposes")),
            lambda branch: _candidates(branch, filtered, mask_token_id),
            lambda branch: _no_candidates(branch, filtered),
            elements=list(_ELEMENTS.values()),
        )
        for name, value in zip(_ELEMENTS, results, strict=True):
            tape.op("Identity", value, name=name)

    return make_function("DraftCandidates", CANDIDATE_INPUTS, CANDIDATE_OUTPUTS, body)


def _filtered(tape: Tape) -> str:
    """[B] bool: the row has a filter."""
    by_rank = tape.op("Greater", "top_k", tape.constant(0, np.int32))
    by_share = tape.op("Less", "top_p", tape.constant(1.0, np.float32))
    by_ratio = tape.op("Greater", "min_p", tape.constant(0.0, np.float32))
    return tape.op("Or", tape.op("Or", by_rank, by_share), by_ratio)


def _filter_cut(tape: Tape, mask_token_id: int, dialect: Dialect) -> str:
    """[B, W]: the smallest logit that the filters keep."""
    scores = allowed_scores(tape, "logits", mask_token_id)
    scaled = _scaled(tape, scores)
    cut = find_cut(tape, scaled, dialect, top_k="top_k", top_p="top_p", min_p="min_p")
    kept = tape.op("GreaterOrEqual", scaled, cut)
    smallest = tape.op("Where", kept, scores, tape.constant(np.inf, np.float32))
    return tape.op("ReduceMin", smallest, tape.constant([_LAST], np.int64), keepdims=0)


def _candidates(tape: Tape, filtered: str, mask_token_id: int) -> Sequence[str]:
    scores = allowed_scores(tape, "logits", mask_token_id)
    count = tape.constant([CANDIDATES + 1], np.int64)
    values, ids = tape.ops("TopK", scores, count, outputs=2, axis=_LAST, largest=1, sorted=1)
    first, rest = tape.ops(
        "Split", values, tape.constant([CANDIDATES, 1], np.int64), outputs=2, axis=_LAST
    )
    chosen = tape.op(
        "Slice", ids, *(tape.constant([value], np.int64) for value in (0, CANDIDATES, 2))
    )
    # Tokens that tie with the first one outside stay outside too: a cut cannot tell them from it.
    inside = tape.op("Greater", first, rest)
    inside = tape.op("And", inside, tape.op("GreaterOrEqual", first, tape.op("Unsqueeze", filtered, _axis(tape))))
    inside = tape.op("And", inside, columns(tape, "proposes"))
    inside = tape.op(
        "And", inside, columns(tape, tape.op("Greater", "temperature", tape.constant(0.0, np.float32)))
    )
    listed = tape.op("Where", inside, tape.op("Cast", chosen, to=TensorProto.INT32), tape.constant(-1, np.int32))

    weight = tape.op("Where", inside, tape.op("Exp", _scaled(tape, first)), tape.constant(0.0, np.float32))
    total = tape.op("ReduceSum", weight, _axis(tape), keepdims=1)
    # Without candidates both are 0.
    shares = tape.op("Div", weight, tape.op("Max", total, tape.constant(np.finfo(np.float32).tiny, np.float32)))

    smallest = tape.op("Where", inside, first, tape.constant(np.inf, np.float32))
    smallest = tape.op("ReduceMin", smallest, _axis(tape), keepdims=0)
    cut = tape.op("Where", tape.op("Less", smallest, tape.constant(np.inf, np.float32)), smallest, filtered)
    return [cut, listed, shares]


def _no_candidates(tape: Tape, filtered: str) -> Sequence[str]:
    shape = tape.op("Concat", tape.op("Shape", filtered), tape.constant([CANDIDATES], np.int64), axis=0)
    ids, shares = (
        tape.op("Expand", tape.constant([value], dtype), shape) for value, dtype in ((-1, np.int32), (0, np.float32))
    )
    return [filtered, ids, shares]


def _scaled(tape: Tape, scores: str) -> str:
    """(z - max z) / T for scores [B, W, N]."""
    best = tape.op("ReduceMax", scores, _axis(tape), keepdims=1)
    divisor = tape.op("Max", columns(tape, "temperature"), tape.constant(COLDEST, np.float32))
    return tape.op("Div", tape.op("Sub", scores, best), divisor)


def _column(tape: Tape, value: float) -> str:
    """[B, W] float32."""
    shape = tape.op("Shape", "logits", start=0, end=2)
    return tape.op("Expand", tape.constant([value], np.float32), shape)


def _axis(tape: Tape) -> str:
    return tape.constant([_LAST], np.int64)

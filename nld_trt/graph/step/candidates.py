# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Which tokens may be drawn, as a cut on their logits, and the few that a draft is drawn from.

The filters look at a slot's likeliest tokens, ``SHORTLIST`` of them: with any filter on, no more are left.

Drafts that are verified by rejection are drawn from their K likeliest tokens only. Rejection sampling is right for any
distribution of drafts as long as it is known exactly, and so it is a list of K ids and shares: small enough to stay
beside the block until it is verified.

Shapes: B rows, W window tokens, V vocabulary, N drawn slots, S shortlist, K candidates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from onnx import FunctionProto, TensorProto

from nld_trt.graph.network.linear import Dialect
from nld_trt.graph.step.scores import COLDEST, allowed_scores
from nld_trt.graph.step.slots import DrawnSlots, only_if
from nld_trt.graph.tape import Tape, make_function

CANDIDATES = 8
SHORTLIST = 256

CANDIDATE_INPUTS = ("logits", "drawn_slots", "temperature", "top_k", "top_p", "min_p", "proposes")
CANDIDATE_OUTPUTS = ("cut", "candidate_ids", "candidate_shares")

_LAST = -1


def draft_candidates(mask_token_id: int, vocab_size: int, dialect: Dialect) -> FunctionProto:
    """``DraftCandidates``: what a row's filters leave, and what its drafts are drawn from.

    Inputs: logits [B, W, V] any float, drawn_slots [N] int32, temperature [B] float32, top_k [B] int32 (0: no such
    filter), top_p [B] float32 (1), min_p [B] float32 (0), proposes [B] bool (the row drafts for rejection sampling).
    The filters apply one after another, each to what the one before has left: top_k keeps the k largest logits, top_p
    the fewest likeliest tokens whose share of what is left reaches it, min_p those at least that likely compared with
    the likeliest. Logits equal to the last one kept stay.

    Outputs: cut [B, W] float32, tokens with a smaller logit are not drawn; candidate_ids [B, W, K] int32, -1 behind the
    last, and candidate_shares [B, W, K] float32, what each is drawn with at the row's temperature; no candidates in
    rows that do not propose, and where more than K tokens tie for the first place.
    """

    def body(tape: Tape) -> None:
        cells = tape.op("Shape", "logits", start=0, end=2)
        lists = tape.op("Concat", cells, tape.constant([CANDIDATES], np.int64), axis=0)
        free = [
            tape.op("Expand", tape.constant([-np.inf], np.float32), cells),
            tape.op("Expand", tape.constant([-1], np.int32), lists),
            tape.op("Expand", tape.constant([0], np.float32), lists),
        ]
        elements = (TensorProto.FLOAT, TensorProto.INT32, TensorProto.FLOAT)

        def limit(branch: Tape) -> Sequence[str]:
            slots = DrawnSlots(branch)
            cut, ids, shares = _limits(branch, slots, mask_token_id, vocab_size)
            return [
                slots.put_back(free[0], cut),
                slots.put_lists_back(free[1], ids, CANDIDATES),
                slots.put_lists_back(free[2], shares, CANDIDATES),
            ]

        def limit_if(branch: Tape) -> Sequence[str]:
            limited = branch.op("Or", _filtered(branch, "top_k", "top_p", "min_p"), "proposes")
            return only_if(branch, dialect, limited, limit, lambda _: free, elements=elements)

        warm = tape.op("Greater", "temperature", tape.constant(0.0, np.float32))
        results = only_if(tape, dialect, warm, limit_if, lambda _: free, elements=elements)
        for name, value in zip(CANDIDATE_OUTPUTS, results, strict=True):
            tape.op("Identity", value, name=name)

    return make_function("DraftCandidates", CANDIDATE_INPUTS, CANDIDATE_OUTPUTS, body)


def _filtered(tape: Tape, top_k: str, top_p: str, min_p: str) -> str:
    """Whether there is a filter, bool of the same shape."""
    by_rank = tape.op("Greater", top_k, tape.constant(0, np.int32))
    by_share = tape.op("Less", top_p, tape.constant(1.0, np.float32))
    by_ratio = tape.op("Greater", min_p, tape.constant(0.0, np.float32))
    return tape.op("Or", tape.op("Or", by_rank, by_share), by_ratio)


def _limits(tape: Tape, slots: DrawnSlots, mask_token_id: int, vocab_size: int) -> tuple[str, str, str]:
    """Cut [N], candidates [N, K] and their shares [N, K]."""

    def column(rows: str) -> str:
        """[B] to [N, 1]."""
        return tape.op("Unsqueeze", slots.rows(rows), _number(tape, [_LAST]))

    size = min(SHORTLIST, vocab_size)
    none, everything = tape.constant(0.0, np.float32), tape.constant(np.inf, np.float32)
    scores = allowed_scores(tape, slots.vectors("logits"), mask_token_id, vocab_size)
    values, ids = tape.ops("TopK", scores, _number(tape, [size]), outputs=2, axis=_LAST, largest=1, sorted=1)
    best = tape.op("Slice", values, *(_number(tape, [end]) for end in (0, 1, 1)))
    divisor = tape.op("Max", column("temperature"), tape.constant(COLDEST, np.float32))

    def weights(scores: str) -> str:
        return tape.op("Exp", tape.op("Div", tape.op("Sub", scores, best), divisor))

    likely = weights(values)
    count, share, ratio = column("top_k"), column("top_p"), column("min_p")
    ranked = tape.op("Greater", count, tape.constant(0, np.int32))
    place = tape.op("Cast", tape.op("Sub", count, tape.constant(1, np.int32)), to=TensorProto.INT64)
    place = tape.op("Min", tape.op("Max", place, _number(tape, 0)), _number(tape, size - 1))
    least = tape.op("GatherElements", values, place, axis=1)
    kept = tape.op("Or", tape.op("GreaterOrEqual", values, least), tape.op("Not", ranked))

    left = tape.op("Where", kept, likely, none)
    total = tape.op("ReduceSum", weights(scores), _number(tape, [_LAST]), keepdims=1)
    total = tape.op("Where", ranked, tape.op("ReduceSum", left, _number(tape, [_LAST]), keepdims=1), total)
    before = tape.op("CumSum", left, _number(tape, 1), exclusive=1)
    needed = tape.op("Less", before, tape.op("Mul", share, total))
    kept = tape.op("And", kept, tape.op("Or", needed, tape.op("GreaterOrEqual", share, tape.constant(1.0, np.float32))))
    kept = tape.op("And", kept, tape.op("GreaterOrEqual", likely, ratio))

    def smallest(kept: str, values: str) -> str:
        return tape.op("ReduceMin", tape.op("Where", kept, values, everything), _number(tape, [_LAST]), keepdims=1)

    # Where equal logits reach from inside the list to outside of it, all of them stay.
    cut = tape.op(
        "Where", _filtered(tape, count, share, ratio), smallest(kept, values), tape.constant(-np.inf, np.float32)
    )

    first = tape.op("Slice", values, *(_number(tape, [end]) for end in (0, CANDIDATES, 1)))
    rest = tape.op("Slice", values, *(_number(tape, [end]) for end in (CANDIDATES, CANDIDATES + 1, 1)))
    # Tokens that tie with the first one outside stay outside too: a cut cannot tell them from it.
    inside = tape.op("And", tape.op("Greater", first, rest), tape.op("GreaterOrEqual", first, cut))
    inside = tape.op("And", inside, tape.op("And", column("proposes"), tape.op("Greater", column("temperature"), none)))
    chosen = tape.op(
        "Cast", tape.op("Slice", ids, *(_number(tape, [end]) for end in (0, CANDIDATES, 1))), to=TensorProto.INT32
    )
    listed = tape.op("Where", inside, chosen, tape.constant(-1, np.int32))
    weight = tape.op("Where", inside, weights(first), none)
    all_weight = tape.op("ReduceSum", weight, _number(tape, [_LAST]), keepdims=1)
    # Without candidates both are 0.
    shares = tape.op("Div", weight, tape.op("Max", all_weight, tape.constant(np.finfo(np.float32).tiny, np.float32)))
    proposed = smallest(inside, first)
    cut = tape.op("Where", tape.op("Less", proposed, everything), proposed, cut)
    return tape.op("Squeeze", cut, _number(tape, [_LAST])), listed, shares


def _number(tape: Tape, value: npt.ArrayLike) -> str:
    return tape.constant(value, np.int64)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``DraftCandidates``: which tokens may be sampled, as a cut on their logits, and the few that a draft is sampled from.

The filters apply one after another, each to what the one before has left: top_k keeps the k largest logits, top_p the
fewest of the most likely tokens whose probabilities add up to it, min_p those at least that likely relative to the most
likely one. Logits equal to the last one kept stay. The filters look at a slot's most likely tokens, ``SHORTLIST`` of
them: with any filter on, no more are left.

Drafts that are verified by rejection are sampled from their K most likely tokens only. Rejection sampling is right for
any distribution of drafts that is known exactly. A list of K ids and probabilities is small enough to stay beside the
block until the block is verified. Rows that do not propose have no candidates, nor have slots in which more than K
tokens tie for the first place.

Shapes: B rows, W window tokens, V vocabulary, N sampled slots, S shortlist, K candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from onnx import FunctionProto

from nld_trt import names
from nld_trt.graph.step.function import make_function
from nld_trt.graph.step.scores import COLDEST, allowed_scores
from nld_trt.graph.step.slots import SampledSlots, only_if
from nld_trt.graph.step.tensors import CANDIDATES, Operator
from nld_trt.graph.tape import Dialect, Value, maximum, minimum, where

SHORTLIST = names.MAX_TOP_K

_LAST = -1
_TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class Settings:
    """What decides which tokens may be sampled: [B] for rows, or [N, 1] for sampled slots."""

    temperature: Value
    top_k: Value
    top_p: Value
    min_p: Value
    proposes: Value

    def columns(self, slots: SampledSlots) -> Settings:
        """[B] to [N, 1]."""
        fields = (self.temperature, self.top_k, self.top_p, self.min_p, self.proposes)
        return Settings(*(slots.rows(value).column() for value in fields))

    @property
    def filters(self) -> Value:
        """Whether there is a filter, bool of the same shape."""
        return (self.top_k > 0) | (self.top_p < 1.0) | (self.min_p > 0.0)


DRAFT_CANDIDATES = Operator(
    "DraftCandidates",
    inputs=("logits", "sampled_slots", *(field.name for field in fields(Settings))),
    outputs=("cut", "candidate_ids", "candidate_probabilities"),
)


def draft_candidates(mask_token_id: int, vocab_size: int, dialect: Dialect) -> FunctionProto:
    """The operator as an ONNX function."""

    def body(logits: Value, sampled_slots: Value, **inputs: Value) -> Mapping[str, Value]:
        settings = Settings(**inputs)
        tape = logits.tape
        cells = logits.shape(0, 2)
        lists = tape.op("Concat", cells, tape.constant([CANDIDATES], np.int64), axis=0)
        free = [
            tape.op("Expand", tape.constant([-np.inf], np.float32), cells),
            tape.op("Expand", tape.constant([-1], np.int32), lists),
            tape.op("Expand", tape.constant([0], np.float32), lists),
        ]

        def limit() -> list[Value]:
            slots = SampledSlots(sampled_slots, logits)
            scores = allowed_scores(slots.vectors(logits), mask_token_id, vocab_size)
            cut, ids, probabilities = _limits(scores, settings.columns(slots), min(SHORTLIST, vocab_size))
            return [
                slots.put_back(free[0], cut),
                slots.put_lists_back(free[1], ids, CANDIDATES),
                slots.put_lists_back(free[2], probabilities, CANDIDATES),
            ]

        def limit_if_any() -> list[Value]:
            return list(only_if(dialect, settings.filters | settings.proposes, limit, lambda: free))

        results = only_if(dialect, settings.temperature > 0.0, limit_if_any, lambda: free)
        return dict(zip(DRAFT_CANDIDATES.outputs, results, strict=True))

    return make_function(DRAFT_CANDIDATES, body)


def _limits(scores: Value, slot: Settings, size: int) -> tuple[Value, Value, Value]:
    """Cut [N], candidates [N, K] and their probabilities [N, K].

    Args:
        scores: [N, V] float32.
        slot: settings of each slot, [N, 1].
        size: of the shortlist.
    """
    tape = scores.tape
    values, ids = tape.ops(
        "TopK", scores, tape.constant([size], np.int64), dtypes=[np.float32, np.int64], axis=_LAST, largest=1, sorted=1
    )
    best = values.slice(0, 1, axis=1)
    divisor = maximum(slot.temperature, COLDEST)

    def weights(scores: Value) -> Value:
        return ((scores - best) / divisor).exp()

    def smallest(kept: Value, values: Value) -> Value:
        return where(kept, values, np.inf).min(_LAST, keepdims=True)

    likely = weights(values)
    place = minimum(maximum((slot.top_k - 1).cast(np.int64), 0), size - 1)
    ranked = slot.top_k > 0
    kept = (values >= values.take_along(place, axis=1)) | ~ranked

    left = where(kept, likely, 0.0)
    total = where(ranked, left.sum(_LAST, keepdims=True), weights(scores).sum(_LAST, keepdims=True))
    before = tape.op("CumSum", left, tape.constant(1, np.int64), exclusive=1)
    needed = (before < slot.top_p * total) | (slot.top_p >= 1.0)
    kept = kept & needed & (likely >= slot.min_p)
    # Where equal logits reach from inside the shortlist to outside of it, all of them stay.
    cut = where(slot.filters, smallest(kept, values), -np.inf)

    first, rest = values.slice(0, CANDIDATES, axis=1), values.slice(CANDIDATES, CANDIDATES + 1, axis=1)
    # Tokens that tie with the first one outside stay outside too: a cut cannot tell them from it.
    inside = (first > rest) & (first >= cut) & (slot.proposes & (slot.temperature > 0.0))
    listed = where(inside, ids.slice(0, CANDIDATES, axis=1).cast(np.int32), -1)
    weight = where(inside, weights(first), 0.0)
    # Without candidates both are 0.
    probabilities = weight / maximum(weight.sum(_LAST, keepdims=True), _TINY)
    proposed = smallest(inside, first)
    cut = where(proposed < np.inf, proposed, cut)
    return cut.squeeze(_LAST), listed, probabilities

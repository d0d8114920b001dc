# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The verifier of quadratic passes as an ensemble: λ · p(AR) + (1 - λ) · p(diffusion).

Both are predictions of one position: the causal one after draft i, and that of the first mask after draft i
(docs/model.md, Quadratic self-speculation).

Shapes: B rows, W window tokens, V vocabulary, N sampled slots, k drafts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nld_trt.graph.step.scores import allowed_scores
from nld_trt.graph.step.slots import SampledSlots
from nld_trt.graph.tape import Value, where


@dataclass(frozen=True)
class Ensemble:
    """Which rows verify by an ensemble, and with which weight.

    Attributes:
        segments: [B] int32, k of a row in a quadratic pass, 0 of others.
        weight: [B] float32, λ.
    """

    segments: Value
    weight: Value

    def rows(self) -> Value:
        """[B] bool: rows in a quadratic pass whose weight is below 1."""
        return (self.weight < 1.0) & (self.segments > 0)

    def scores(self, slots: SampledSlots, logits: Value, mask_token_id: int, vocab_size: int) -> Value:
        """[N, V] float32 without MASK: log probabilities of the ensemble at drafts of its rows, logits elsewhere.

        Args:
            logits: [B, W, V] any float.
        """
        count = slots.rows(self.segments).cast(np.int64)
        is_draft = slots.rows(self.rows()) & (slots.places < count)
        # The masks after draft i start at slot k + i * k.
        companion = slots.cells_at(where(is_draft, count + slots.places * count, slots.places))
        own = slots.vectors(logits)
        causal, diffusion = (
            own.tape.op("Softmax", each.cast(np.float32), axis=-1) for each in (own, slots.vectors(logits, companion))
        )
        weight = slots.rows(self.weight).column()
        mixed = own.tape.op("Log", weight * causal + (1.0 - weight) * diffusion)
        allowed = (allowed_scores(scores, mask_token_id, vocab_size) for scores in (mixed, own))
        return where(is_draft.column(), *allowed)

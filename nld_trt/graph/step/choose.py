# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``ChooseTokens``: the token that every slot chooses from its logits, and the probability of that token.

It is the one operator of a forward that reads all logits: BlockDenoise and SpecVerify decide on its outputs. Statistics
are FP32 over the whole vocabulary. MASK stays in the denominator of the softmax, as in the reference, and is never
chosen. The lowest id wins a tie.

Shapes: B rows, W window tokens, V vocabulary, N sampled slots, K candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import numpy as np
from onnx import FunctionProto

from nld_trt.graph.step.ensemble import Ensemble
from nld_trt.graph.step.function import make_function
from nld_trt.graph.step.sampling import SamplingInputs, sample_tokens
from nld_trt.graph.step.scores import allowed_scores
from nld_trt.graph.step.slots import SampledSlots, only_if
from nld_trt.graph.step.tensors import Operator
from nld_trt.graph.step.window import Window
from nld_trt.graph.tape import Dialect, Value, where

CHOOSE_TOKENS = Operator(
    "ChooseTokens",
    inputs=("logits", "sampled_slots", *(field.name for field in fields(SamplingInputs))),
    outputs=("choice", "probability", "finite"),
)
# Of engines with quadratic passes.
CHOOSE_TOKENS_BY_ENSEMBLE = Operator(
    CHOOSE_TOKENS.name, (*CHOOSE_TOKENS.inputs, "segments", "ensemble"), CHOOSE_TOKENS.outputs
)

_LAST = -1
_LARGEST = float(np.finfo(np.float32).max)


def choose_tokens(mask_token_id: int, vocab_size: int, dialect: Dialect, *, quadratic: bool) -> FunctionProto:
    """The operator as an ONNX function.

    ``sampled_slots`` must hold at least the slots of rows with a temperature or an ensemble. All other slots get their
    most likely token.

    Args:
        quadratic: rows may make quadratic passes; the verifier of these may be an ensemble.
    """

    def body(
        logits: Value,
        sampled_slots: Value,
        segments: Value | None = None,
        ensemble: Value | None = None,
        **inputs: Value,
    ) -> Mapping[str, Value]:
        sampling = SamplingInputs(**inputs)
        mixing = None if segments is None or ensemble is None else Ensemble(segments, ensemble)
        scores = logits.cast(np.float32)
        greedy = allowed_scores(logits, mask_token_id, vocab_size).argmax()
        warm = sampling.temperature > 0.0

        def sample() -> list[Value]:
            slots = SampledSlots(sampled_slots, logits)
            if mixing is None:
                allowed = allowed_scores(slots.vectors(logits), mask_token_id, vocab_size)
                best = slots.cells(greedy)
            else:
                allowed = mixing.scores(slots, logits, mask_token_id, vocab_size)
                best = allowed.argmax()
            sampled = sample_tokens(slots, sampling, allowed, vocab_size, dialect)
            return [slots.put_back(greedy, where(slots.rows(warm), sampled, best))]

        special = warm if mixing is None else warm | mixing.rows()
        (ids,) = only_if(dialect, special, sample, lambda: [greedy])
        score = logits.take_along(ids.unsqueeze(_LAST), axis=_LAST).cast(np.float32).squeeze(_LAST)
        peak = scores.max(_LAST, keepdims=True)
        total = (scores - peak).exp().sum(_LAST)
        # NaN and infinity both end up in the sum as NaN, which is not less than anything.
        decided = (total < _LARGEST) & (score > -np.inf)
        padding = ~Window.of(sampling.block).leading(sampling.valid)
        return {
            "choice": ids.cast(np.int32),
            "probability": (score - peak.squeeze(_LAST)).exp() / total,
            "finite": (decided | padding).cast(np.int32).min(_LAST),
        }

    return make_function(CHOOSE_TOKENS_BY_ENSEMBLE if quadratic else CHOOSE_TOKENS, body)

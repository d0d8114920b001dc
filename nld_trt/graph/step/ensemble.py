# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The verifier of quadratic passes as an ensemble: lambda * p_AR + (1 - lambda) * p_diffusion (model-spec 3.5).

Both are predictions of one position: the causal one behind draft i, and that of the first mask behind draft i.

Shapes: B rows, V vocabulary, N drawn slots, k drafts.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from nld_trt.graph.step.scores import allowed_scores, float_scores
from nld_trt.graph.step.slots import DrawnSlots
from nld_trt.graph.tape import Tape


def mixing_rows(tape: Tape) -> str:
    """[B] bool: rows in a quadratic pass whose ``ensemble`` is below 1."""
    mixes = tape.op("Less", "ensemble", tape.constant(1.0, np.float32))
    return tape.op("And", mixes, tape.op("Greater", "segments", tape.constant(0, np.int32)))


def mixed_scores(tape: Tape, slots: DrawnSlots, mask_token_id: int, vocab_size: int) -> str:
    """[N, V] float32: log probabilities of the ensemble at drafts of mixing rows, logits elsewhere; without MASK."""
    count = tape.op("Cast", slots.rows("segments"), to=TensorProto.INT64)
    is_draft = tape.op("And", slots.rows(mixing_rows(tape)), tape.op("Less", slots.places, count))
    # The masks behind draft i start at slot k + i * k.
    first = tape.op("Add", count, tape.op("Mul", slots.places, count))
    companion = slots.cells_at(tape.op("Where", is_draft, first, slots.places))
    own = slots.vectors("logits")
    shares = [
        tape.op("Softmax", float_scores(tape, logits), axis=-1) for logits in (own, slots.vectors("logits", companion))
    ]
    weight = tape.op("Unsqueeze", slots.rows("ensemble"), tape.constant([1], np.int64))
    rest = tape.op("Sub", tape.constant(1.0, np.float32), weight)
    mixed = tape.op("Log", tape.op("Add", tape.op("Mul", weight, shares[0]), tape.op("Mul", rest, shares[1])))
    allowed = (allowed_scores(tape, value, mask_token_id, vocab_size) for value in (mixed, own))
    return tape.op("Where", tape.op("Unsqueeze", is_draft, tape.constant([1], np.int64)), *allowed)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The verifier of quadratic passes as an ensemble: lambda * p_AR + (1 - lambda) * p_diffusion (model-spec 3.5).

Both are predictions of one position: the causal one behind draft i, and that of the first mask behind draft i.

Shapes: B rows, W window tokens, V vocabulary, k drafts.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from nld_trt.graph.scores import any_row, columns, float_scores
from nld_trt.graph.tape import Tape


def verifying_logits(tape: Tape, logits: str, element: int) -> str:
    """``logits`` [B, W, V] of ``element`` type, with log probabilities of the ensemble at the drafts of rows whose ``ensemble`` is below 1.

    Other rows keep theirs, and where there is no such row nothing is computed.
    """
    mixes = tape.op("Less", "ensemble", tape.constant(1.0, np.float32))
    mixes = tape.op("And", mixes, tape.op("Greater", "segments", tape.constant(0, np.int32)))

    def mix(branch: Tape) -> list[str]:
        return [branch.op("Cast", _mixed(branch, logits, mixes), to=element)]

    return tape.when(any_row(tape, mixes), mix, lambda _: [logits], elements=[element])[0]


def _mixed(tape: Tape, logits: str, mixes: str) -> str:
    scores = float_scores(tape, logits)
    width = tape.op("Squeeze", tape.op("Shape", logits, start=1, end=2), tape.constant([0], np.int64))
    slots = tape.op("Range", tape.constant(0, np.int64), width, tape.constant(1, np.int64))
    count = tape.op(
        "Unsqueeze", tape.op("Cast", "segments", to=TensorProto.INT64), tape.constant([1], np.int64)
    )
    # The masks behind draft i start at slot k + i * k.
    first = tape.op("Add", count, tape.op("Mul", slots, count))
    is_draft = tape.op("And", tape.op("Less", slots, count), tape.op("Unsqueeze", mixes, tape.constant([1], np.int64)))
    companion = tape.op("Where", is_draft, first, slots)
    other = tape.op("GatherND", scores, tape.op("Unsqueeze", companion, tape.constant([2], np.int64)), batch_dims=1)

    weight = columns(tape, "ensemble")
    rest = tape.op("Sub", tape.constant(1.0, np.float32), weight)
    shares = [tape.op("Softmax", value, axis=-1) for value in (scores, other)]
    mixed = tape.op("Log", tape.op("Add", tape.op("Mul", weight, shares[0]), tape.op("Mul", rest, shares[1])))
    return tape.op("Where", tape.op("Unsqueeze", is_draft, tape.constant([2], np.int64)), mixed, scores)

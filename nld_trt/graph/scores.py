# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Logits as the decode operators look at them: float32, and without MASK where a token is chosen.

Shapes: B rows, W window tokens, V vocabulary.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from nld_trt.graph.tape import Tape

# Dividing by less would overflow; the likeliest token wins at this temperature with certainty.
COLDEST = 1e-30


def float_scores(tape: Tape, logits: str) -> str:
    """[B, W, V] float32."""
    return tape.op("Cast", logits, to=TensorProto.FLOAT)


def allowed_scores(tape: Tape, logits: str, mask_token_id: int) -> str:
    """[B, W, V] float32 with MASK at minus infinity.

    Inside a branch this repeats a cheap step on purpose: to read its result from outside, a compiled engine would
    have to write it to memory in every pass.
    """
    ids = tape.op("Range", tape.constant(0, np.int64), vocabulary(tape, logits), tape.constant(1, np.int64))
    is_mask = tape.op("Equal", ids, tape.constant(mask_token_id, np.int64))
    bias = tape.op("Where", is_mask, tape.constant(-np.inf, np.float32), tape.constant(0.0, np.float32))
    return tape.op("Add", float_scores(tape, logits), bias)


def vocabulary(tape: Tape, logits: str) -> str:
    """V, int64 scalar."""
    return tape.op("Squeeze", tape.op("Shape", logits, start=2, end=3), tape.constant([0], np.int64))


def columns(tape: Tape, rows: str) -> str:
    """[B] to [B, 1, 1]."""
    return tape.op("Unsqueeze", rows, tape.constant([1, 2], np.int64))


def any_row(tape: Tape, rows: str) -> str:
    """Scalar bool: whether any of [B] is true."""
    most = tape.op("ReduceMax", tape.op("Cast", rows, to=TensorProto.INT32), keepdims=0)
    return tape.op("Cast", most, to=TensorProto.BOOL)

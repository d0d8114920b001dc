# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Logits as the decode operators look at them: float32, and without MASK where a token is chosen.

Shapes: B rows, V vocabulary; the leading axes of logits are free.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from nld_trt.graph.tape import Tape

# Dividing by less would overflow; the likeliest token wins at this temperature with certainty.
COLDEST = 1e-30


def float_scores(tape: Tape, logits: str) -> str:
    """[..., V] float32."""
    return tape.op("Cast", logits, to=TensorProto.FLOAT)


def allowed_scores(tape: Tape, logits: str, mask_token_id: int, vocab_size: int) -> str:
    """[..., V] float32 with MASK at minus infinity."""
    bias = np.where(np.arange(vocab_size) == mask_token_id, -np.inf, 0.0)
    return tape.op("Add", float_scores(tape, logits), tape.constant(bias, np.float32))


def any_row(tape: Tape, rows: str) -> str:
    """Scalar bool: whether any of [B] is true."""
    most = tape.op("ReduceMax", tape.op("Cast", rows, to=TensorProto.INT32), keepdims=0)
    return tape.op("Cast", most, to=TensorProto.BOOL)

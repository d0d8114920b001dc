# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Logits as the decode operators choose by them: float32, and without MASK.

Shapes: V vocabulary; the leading axes of logits are free.
"""

from __future__ import annotations

import numpy as np

from nld_trt.graph.tape import Value

# Dividing by a smaller temperature would overflow. At this one the most likely token is certain.
COLDEST = 1e-30


def allowed_scores(logits: Value, mask_token_id: int, vocab_size: int) -> Value:
    """[..., V] float32 with MASK at minus infinity."""
    bias = np.where(np.arange(vocab_size) == mask_token_id, -np.inf, 0.0)
    return logits.cast(np.float32) + bias

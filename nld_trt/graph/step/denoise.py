# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``BlockDenoise``: one step that commits masks by confidence.

A masked slot is committed if its probability is at least ``threshold``, or if it is among the ``quota`` most confident
ones. Quota 1 with a threshold is the confidence policy, a quota with a threshold out of reach is the fixed schedule
(docs/model.md, Diffusion), and threshold 0 fills every mask: the draft of a single pass (docs/model.md, Linear
self-speculation).

Shapes: B rows, W window tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import FunctionProto

from nld_trt.graph.step.function import make_function
from nld_trt.graph.step.tensors import Operator
from nld_trt.graph.step.window import Window
from nld_trt.graph.tape import Value, where

BLOCK_DENOISE = Operator(
    "BlockDenoise",
    inputs=("choice", "probability", "block", "valid", "threshold", "quota"),
    outputs=("block_tokens", "confidence", "masks_left"),
)

_LAST = -1


def block_denoise(mask_token_id: int) -> FunctionProto:
    """The operator as an ONNX function."""

    def body(
        choice: Value, probability: Value, block: Value, valid: Value, threshold: Value, quota: Value
    ) -> Mapping[str, Value]:
        window = Window.of(block)
        masked = block.equals(mask_token_id) & window.leading(valid)
        confidence = where(masked, probability, -1.0)
        confident = _descending_rank(confidence, window.slots) < quota.column()
        commit = masked & (confident | (confidence >= threshold.column()))
        return {
            "block_tokens": where(commit, choice, block),
            "confidence": confidence,
            "masks_left": (masked & ~commit).cast(np.int32).sum(_LAST),
        }

    return make_function(BLOCK_DENOISE, body)


def _descending_rank(values: Value, slots: Value) -> Value:
    """[B, W] int32: how many slots come before each, the one with the larger value first, then the one to the left."""
    mine, other = values.unsqueeze(2), values.unsqueeze(1)
    left = slots.unsqueeze(0) < slots.unsqueeze(1)
    before = (other > mine) | (other.equals(mine) & left)
    return before.cast(np.int32).sum(_LAST)

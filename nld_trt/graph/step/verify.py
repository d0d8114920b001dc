# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``SpecVerify``: accepts a drafted block by what a causal pass over it chooses.

The longest run with choice[j] == block[j + 1] is accepted, and one more token, the bonus token, which is the verifier's
own (docs/model.md, Linear self-speculation).

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

SPEC_VERIFY = Operator(
    "SpecVerify",
    inputs=("choice", "block", "verify_valid", "eos_token_id"),
    outputs=("verified_tokens", "accepted_count", "bonus_token", "eos_position"),
)

_LAST, _END = -1, np.iinfo(np.int64).max


def spec_verify() -> FunctionProto:
    """The operator as an ONNX function."""

    def body(choice: Value, block: Value, verify_valid: Value, eos_token_id: Value) -> Mapping[str, Value]:
        window = Window.of(block)
        # The last slot has no draft token after it, so it always ends the run.
        has_draft = (window.slots + 1) < verify_valid.column()
        drafted = block.slice(1, _END, axis=1).pad(0, 1, -1, axis=1)
        matches = choice.equals(drafted) & has_draft
        first_miss = where(matches, window.width, window.slots).min(_LAST, keepdims=True)
        accepted = first_miss + 1
        return {
            "verified_tokens": choice,
            "accepted_count": accepted.squeeze(_LAST),
            "bonus_token": choice.take_along(first_miss, axis=1).squeeze(_LAST),
            "eos_position": window.first(choice, eos_token_id, among=window.slots < accepted),
        }

    return make_function(SPEC_VERIFY, body)

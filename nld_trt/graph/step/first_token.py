# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Where in its window a row first has one of some tokens.

Shapes: B rows, W window tokens, E tokens that are looked for.
"""

from __future__ import annotations

import numpy as np

from nld_trt.graph.tape import Tape


def first_token(
    tape: Tape, tokens: str, among: str, wanted: str, slots: str, width: str, *, name: str | None = None
) -> str:
    """[B] int32: the first slot that holds any of ``wanted``, or W.

    Args:
        tokens: [B, W] int32.
        among: [B, W] bool, the slots that count.
        wanted: [B, E] or [1, E] int32; an id below 0 is none.
        slots: [W] int32, 0 to W - 1.
        width: int32, W.
        name: of the output.
    """

    def of_each_slot(value: str, axis: int = 2) -> str:
        return tape.op("Unsqueeze", value, tape.constant([axis], np.int64))

    found = tape.op("Equal", of_each_slot(tokens), of_each_slot(wanted, 1))
    found = tape.op("And", found, of_each_slot(among))
    places = tape.op("Where", found, of_each_slot(slots, 1), width)
    return tape.op("ReduceMin", places, tape.constant([1, 2], np.int64), name=name, keepdims=0)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The slots of a window: which of them are real, and where a row first has one of some tokens.

Shapes: B rows, W window tokens, E tokens that are looked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nld_trt.graph.tape import Value, where


@dataclass(frozen=True)
class Window:
    """The slots of a block [B, W].

    Attributes:
        width: W, scalar int32.
        slots: [W] int32, 0 to W - 1.
    """

    width: Value
    slots: Value

    @classmethod
    def of(cls, block: Value) -> Window:
        """The slots of ``block`` [B, W]."""
        width = block.size(1).cast(np.int32)
        return cls(width, block.tape.arange(width))

    def leading(self, count: Value) -> Value:
        """[B, W] bool: the first ``count`` [B] int32 slots of each row."""
        return self.slots < count.column()

    def first(self, tokens: Value, wanted: Value, *, among: Value) -> Value:
        """[B] int32: the first slot whose token is one of ``wanted``, or W.

        Args:
            tokens: [B, W] int32.
            wanted: [B, E] or [1, E] int32; an id below 0 is none, because no token has it.
            among: [B, W] bool, the slots that count.
        """
        found = tokens.unsqueeze(2).equals(wanted.unsqueeze(1)) & among.unsqueeze(2)
        return where(found, self.slots.unsqueeze(1), self.width).min(1, 2)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""How many cache slots a forward's attention is given.

The caches of a GPU session have the engine's whole capacity. An engine that copies what attention reads, or that reads
whatever it is given, gets no more slots than its rows fill with the forward, rounded up to a few lengths: kernels are
compiled, and CUDA graphs captured, for each of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from nld_trt.graph.contract import Limits, Phase

# The shortest length. One layer of the 8B then reads 2 MB of keys and values a row, as much as one of its matrices.
_LEAST = 512
# A copied slot is read, written, and read by attention.
_COPIED = 3


@dataclass(frozen=True)
class AttendedLengths:
    """The numbers of slots that forwards are run with.

    Attributes:
        cuts: the engine is given the slots in use; otherwise every forward has the whole capacity.
    """

    limits: Limits
    cuts: bool

    @property
    def all(self) -> tuple[int, ...]:
        """Powers of two, then the capacity, ascending."""
        lengths = []
        length = _LEAST
        while self.cuts and length < self.limits.capacity:
            lengths.append(length)
            length *= 2
        return (*lengths, self.limits.capacity)

    def holding(self, slots: int) -> int:
        """The shortest length of at least ``slots``."""
        return next(length for length in self.all if length >= slots)

    def phase_for(self, width: int, window: int, slots: int) -> tuple[Phase, int]:
        """The phase of a forward whose rows use up to ``slots`` slots, and the slots that it is given.

        The token phase reads the whole capacity in place. With few slots in use a copy of these costs less: then the
        block phase, which holds a width of one too, takes the forward.
        """
        phase, length = self.limits.phase_for(width, window), self.holding(slots)
        if phase != "token":
            return phase, length
        if self.cuts and _COPIED * length < self.limits.capacity:
            return "block", length
        return phase, self.limits.capacity

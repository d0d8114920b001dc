# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The part of a layer's caches that attention reads, in the form that a library reads with the least memory traffic.

A compiled engine has caches of a fixed capacity, and attention is given their first slots only: as many as the input
``attended_slots`` has elements. TensorRT for RTX 1.7 makes a kernel of that cut which reads and writes these slots and
no other, and no kernel at all where the length is always the capacity. Two forms that say the same cost more:

- without a cut it repeats keys and values for every query head, over the whole capacity;
- a cut along the axis of the slots becomes a transposing kernel, which reads the whole capacity.

So the cut is made where slots and elements of a head are one axis. The proof of a build holds what this is for
(``engine.trt.traffic``).

Shapes: B rows, KV heads of a cache, C cache slots, L attended slots, D head_dim.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nld_trt.graph.tape import Value


@dataclass(frozen=True)
class AttendedPart:
    """The first L slots of any cache, recorded once per forward.

    Attributes:
        stop: [1] int64, L · D: where the part of a head ends.
        shape: [4] int64, (-1, KV, L, D).
    """

    stop: Value
    shape: Value

    @classmethod
    def record(cls, attended_slots: Value, kv_heads: int, head_dim: int) -> AttendedPart:
        """``attended_slots`` [L] is read for its shape only."""
        tape, length = attended_slots.tape, attended_slots.shape()
        sizes = tape.constant([-1, kv_heads], np.int64), length, tape.constant([head_dim], np.int64)
        return cls(length * head_dim, tape.op("Concat", *sizes, axis=0))

    def of(self, cache: Value) -> Value:
        """[B, KV, C, D] to [B, KV, L, D]."""
        tape = cache.tape
        start, axis = tape.constant([0], np.int64), tape.constant([2], np.int64)
        return tape.op("Slice", cache.reshape([0, 0, -1]), start, self.stop, axis).reshape(self.shape)

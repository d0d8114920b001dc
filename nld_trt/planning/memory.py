# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The memory that an engine takes on a GPU, and the largest batch and length that fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from nld_trt.planning.platform import GpuPlatform
from nld_trt.planning.products import ModelShape
from nld_trt.planning.provenance import COMPUTED, MEASURED, PUBLISHED, Provenance

# Intermediate values of a row in plans of TensorRT for RTX 1.7, blocks of 32 and a vocabulary of 131,072, by its
# listing of activation memory (build_configs). Most of it is logits and what is computed of them.
_ROW_BYTES: Final = 0.16e9
_ROW_LOGITS: Final = 32 * 131_072
# What libraries, kernels and graphs take: AIConfigurator's reserve.
_RESERVE: Final = 3.5e9
# Lengths for which the largest batch is given.
_LENGTHS: Final = (4096, 16384, 65536, 262144)


@dataclass(frozen=True)
class Memory:
    """Bytes of an engine with ``users`` rows of at most ``max_seq_len`` tokens.

    Attributes:
        capacity: of the GPU.
        weights_from: where the bytes of the weights are from.
        capacity_from: where those of the GPU are from.
    """

    shape: ModelShape
    users: int
    max_seq_len: int
    block_length: int
    capacity: float
    capacity_from: Provenance

    @classmethod
    def on(cls, platform: GpuPlatform, shape: ModelShape, *, users: int, max_seq_len: int, block_length: int) -> Memory:
        return cls(shape, users, max_seq_len, block_length, platform.memory.value, platform.memory.provenance)

    @property
    def weights(self) -> float:
        return self.shape.weight_bytes

    @property
    def _row_caches(self) -> float:
        # The last block is written whole, and cut afterwards.
        return (self.max_seq_len + self.block_length) * float(self.shape.kv_bytes)

    @property
    def caches(self) -> float:
        return self.users * self._row_caches

    @property
    def _row_activations(self) -> float:
        return _ROW_BYTES * self.block_length * self.shape.vocabulary / _ROW_LOGITS

    @property
    def activations(self) -> float:
        return self.users * self._row_activations

    @property
    def total(self) -> float:
        return self.weights + self.caches + self.activations + _RESERVE

    @property
    def missing(self) -> float:
        """Bytes that are too few; 0 or less where it fits."""
        return self.total - self.capacity

    @property
    def most_users(self) -> int:
        """The most rows of this length that fit; 0 if none does."""
        left = self.capacity - self.weights - _RESERVE
        return max(0, int(left // (self._row_caches + self._row_activations)))

    @property
    def longest(self) -> int:
        """The longest rows that fit, that many of them; 0 or less if none does."""
        left = (self.capacity - self.weights - _RESERVE) / self.users - self._row_activations
        return int(left // self.shape.kv_bytes) - self.block_length

    def largest(self) -> list[dict[str, int]]:
        """The most rows for each of a few lengths, as far as one fits."""
        each = [replace(self, max_seq_len=length) for length in sorted({*_LENGTHS, self.max_seq_len})]
        return [{"max_seq_len": memory.max_seq_len, "users": memory.most_users} for memory in each if memory.most_users]

    @property
    def provenance(self) -> Mapping[str, Provenance]:
        return {
            "weights": COMPUTED if self.shape.stored_bytes is None else MEASURED,
            "caches": COMPUTED,
            "activations": MEASURED,
            "reserve": PUBLISHED,
            "capacity": self.capacity_from,
        }

    def to_dict(self) -> dict[str, Any]:
        sizes = {
            "weights": self.weights,
            "caches": self.caches,
            "activations": self.activations,
            "reserve": _RESERVE,
            "total": self.total,
            "capacity": self.capacity,
        }
        return {
            **{name: int(size) for name, size in sizes.items()},
            "users": self.users,
            "max_seq_len": self.max_seq_len,
            "fits": self.missing <= 0,
            "largest": self.largest(),
            "provenance": dict(self.provenance),
        }

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Philox4x32-10 in standard operators: random words as a pure function of a counter and a key.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, sections 3.3 and 5.
Words are 32-bit numbers in 64-bit tensors of any shapes that broadcast.

Shapes: B rows, W window tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from nld_trt.graph.linear import Dialect
from nld_trt.graph.tape import Tape

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
# What every round adds to the key: the golden ratio and the square root of 3, less 1.
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)

_HALF, _WORD = 1 << 16, 1 << 32
_LAST = -1

# A lane is one of the two halves of a Philox round; lanes are the first axis.
_SWAPPED = (1, 0)


class Arithmetic(Protocol):
    """Exact arithmetic on 32-bit words, out of the operators that a runtime has."""

    @property
    def element(self) -> int:
        """ONNX element type that holds a word."""

    def constant(self, tape: Tape, value: npt.ArrayLike) -> str:
        """Words."""

    def shifted(self, tape: Tape, word: str, bits: int) -> str:
        """``word`` without its lowest ``bits`` bits."""

    def wrapped(self, tape: Tape, value: str) -> str:
        """A number below 2^63 modulo 2^32."""

    def product(self, tape: Tape, word: str, factors: npt.NDArray[np.int64]) -> tuple[str, str]:
        """The high and the low word of 64-bit products."""

    def spread(self, tape: Tape, word: str) -> str:
        """What :meth:`exclusive_or` takes."""

    def exclusive_or(self, tape: Tape, first: str, second: str, third: str) -> str:
        """Of three spread words, bit by bit: a word."""


@dataclass(frozen=True)
class Unsigned:
    """uint64 and bitwise operators: ONNX Runtime."""

    element: int = TensorProto.UINT64

    def constant(self, tape: Tape, value: npt.ArrayLike) -> str:
        return tape.constant(value, np.uint64)

    def shifted(self, tape: Tape, word: str, bits: int) -> str:
        return tape.op("BitShift", word, self.constant(tape, bits), direction="RIGHT")

    def wrapped(self, tape: Tape, value: str) -> str:
        return tape.op("BitwiseAnd", value, self.constant(tape, _WORD - 1))

    def product(self, tape: Tape, word: str, factors: npt.NDArray[np.int64]) -> tuple[str, str]:
        whole = tape.op("Mul", word, self.constant(tape, factors))
        return self.shifted(tape, whole, 32), self.wrapped(tape, whole)

    def spread(self, tape: Tape, word: str) -> str:
        return word

    def exclusive_or(self, tape: Tape, first: str, second: str, third: str) -> str:
        return tape.op("BitwiseXor", tape.op("BitwiseXor", first, second), third)


@dataclass(frozen=True)
class Signed:
    """int64 and no bitwise operators: TensorRT's parsers have neither those nor unsigned types.

    Products go through 16-bit halves, so that nothing reaches 2^63. Exclusive or is the parity of a sum of bits, in
    float32, where the numbers that occur, below 2^18, are exact.
    """

    element: int = TensorProto.INT64

    def constant(self, tape: Tape, value: npt.ArrayLike) -> str:
        return tape.constant(value, np.int64)

    def shifted(self, tape: Tape, word: str, bits: int) -> str:
        return tape.op("Div", word, self.constant(tape, 1 << bits))

    def wrapped(self, tape: Tape, value: str) -> str:
        return tape.op("Mod", value, self.constant(tape, _WORD))

    def product(self, tape: Tape, word: str, factors: npt.NDArray[np.int64]) -> tuple[str, str]:
        low = tape.op("Mul", word, self.constant(tape, factors % _HALF))
        high = tape.op("Mul", word, self.constant(tape, factors // _HALF))
        middle = tape.op("Add", high, self.shifted(tape, low, 16))
        upper = tape.op("Mul", self._low_half(tape, middle), self.constant(tape, _HALF))
        return self.shifted(tape, middle, 16), tape.op("Add", upper, self._low_half(tape, low))

    def spread(self, tape: Tape, word: str) -> str:
        """Both 16-bit halves without their lowest i bits, [..., 2, 16] float32: the last bits are the word's."""
        last = tape.constant([_LAST], np.int64)
        moved = tape.op("Div", tape.op("Unsqueeze", word, last), self.constant(tape, [1, _HALF]))
        halves = tape.op("Cast", self._low_half(tape, moved), to=TensorProto.FLOAT)
        scales = tape.constant(2.0 ** -np.arange(16), np.float32)
        return tape.op("Floor", tape.op("Mul", tape.op("Unsqueeze", halves, last), scales))

    def exclusive_or(self, tape: Tape, first: str, second: str, third: str) -> str:
        total = tape.op("Add", tape.op("Add", first, second), third)
        pairs = tape.op("Floor", tape.op("Mul", total, tape.constant(0.5, np.float32)))
        parity = tape.op("Sub", total, tape.op("Add", pairs, pairs))
        last = tape.constant([_LAST], np.int64)
        places = tape.constant(2.0 ** np.arange(16), np.float32)
        halves = tape.op("ReduceSum", tape.op("Mul", parity, places), last, keepdims=0)
        weighted = tape.op("Mul", tape.op("Cast", halves, to=self.element), self.constant(tape, [1, _HALF]))
        return tape.op("ReduceSum", weighted, last, keepdims=0)

    def _low_half(self, tape: Tape, word: str) -> str:
        return tape.op("Mod", word, self.constant(tape, _HALF))


ARITHMETIC: Mapping[Dialect, Arithmetic] = {"onnxruntime": Unsigned(), "tensorrt": Signed()}


def philox(tape: Tape, arithmetic: Arithmetic, even: str, odd: str, key: str) -> tuple[str, str]:
    """Random words for every counter and key; shapes broadcast, and all have as many axes.

    Args:
        even: [2, B, W], words 0 and 2 of the counters.
        odd: [2, B, W], words 1 and 3.
        key: [2, B, W], words 0 and 1 of the keys.

    Returns:
        Words 0 and 2 [2, B, W], and words 1 and 3 [2, B, W].
    """
    lanes = (2, 1, 1)
    steps = np.arange(ROUNDS).reshape(-1, 1, 1, 1) * np.array(KEY_STEPS).reshape(lanes)
    first = tape.op("Unsqueeze", key, tape.constant([0], np.int64))
    keys = arithmetic.wrapped(tape, tape.op("Add", first, arithmetic.constant(tape, steps)))
    keys = arithmetic.spread(tape, keys)
    factors = np.array(MULTIPLIERS).reshape(lanes)[list(_SWAPPED)]
    for index in range(ROUNDS):
        swapped = tape.op("Gather", even, tape.constant(_SWAPPED, np.int64), axis=0)
        high, low = arithmetic.product(tape, swapped, factors)
        round_key = tape.op("Gather", keys, tape.constant(index, np.int64), axis=0)
        even = arithmetic.exclusive_or(tape, arithmetic.spread(tape, high), arithmetic.spread(tape, odd), round_key)
        odd = low
    return even, odd


def uniforms(
    tape: Tape, arithmetic: Arithmetic, *, seed: str, stream: str, position: str, draw: str
) -> tuple[str, str]:
    """Two independent numbers in (0, 1) per slot, [B, W] float32 each.

    They come from words 0 and 1 of the counter (stream, position, draw, 0) under the key (low word of the seed,
    high word): u = ((word >> 9) + 0.5) * 2^-23, exact in float32 and never 0 or 1.

    Args:
        seed: [B] int64, 0 or more.
        stream, draw: [B] int32, 0 or more.
        position: [B, W] int32, 0 or more.
    """

    def number(value: npt.ArrayLike) -> str:
        return tape.constant(value, np.int64)

    def column(value: str) -> str:
        return tape.op("Unsqueeze", value, number([1]))

    def lanes(first: str, second: str | None = None) -> str:
        """[2, B, W] or less: two values as the two lanes, 0 where there is no second."""
        parts = []
        for value, place in ((first, [1, 0]), (second, [0, 1])):
            if value is not None:
                unit = arithmetic.constant(tape, np.reshape(place, (2, 1, 1)))
                parts.append(tape.op("Mul", tape.op("Cast", value, to=arithmetic.element), unit))
        return parts[0] if len(parts) == 1 else tape.op("Add", *parts)

    # No seed has its highest bit set, so dividing is shifting.
    source = column(seed)
    key = lanes(tape.op("Mod", source, number(_WORD)), tape.op("Div", source, number(_WORD)))
    words = philox(tape, arithmetic, lanes(column(stream), column(draw)), lanes(position), key)

    def uniform(words: str) -> str:
        word = tape.op("Gather", words, number(0), axis=0)
        kept = tape.op("Cast", arithmetic.shifted(tape, word, 9), to=TensorProto.FLOAT)
        return tape.op("Mul", tape.op("Add", kept, tape.constant(0.5, np.float32)), tape.constant(2.0**-23, np.float32))

    return uniform(words[0]), uniform(words[1])

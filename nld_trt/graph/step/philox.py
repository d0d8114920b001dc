# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Philox4x32-10 in standard operators: random words as a pure function of a counter and a key.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, sections 3.3 and 5.
Words are 32-bit numbers in int64 tensors. There is a form for each runtime, which computes the same words with the
operators that this runtime has.

Shapes: N slots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from nld_trt.graph.tape import Dialect, Value

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
# What every round adds to the key: the golden ratio and the square root of 3, less 1.
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
# For each lane of the swapped counters [2, 1], and what each round adds to the key [rounds, 2, 1].
_FACTORS = np.array(MULTIPLIERS[::-1])[:, None]
_KEY_SUMS = np.arange(ROUNDS)[:, None, None] * np.array(KEY_STEPS)[:, None]

_WORD, _BITS = 1 << 32, 32
_LAST = -1

# A lane is one of the two halves of a Philox round; lanes are the first axis.
_SWAPPED = (1, 0)

# Words 0 and 2 of the counters [2, N], words 1 and 3, words 0 and 1 of the keys -> the random words, as those of the
# counters. All are int64.
Generator = Callable[[Value, Value, Value], tuple[Value, Value]]


def _philox_in_words(even: Value, odd: Value, key: Value) -> tuple[Value, Value]:
    """With uint64 and bitwise operators: ONNX Runtime."""

    def low(value: Value) -> Value:
        return value & (_WORD - 1)

    def high(value: Value) -> Value:
        shift = value.tape.constant(_BITS, np.uint64)
        return value.tape.op("BitShift", value, shift, direction="RIGHT")

    even, odd, key = (value.cast(np.uint64) for value in (even, odd, key))
    keys = low(key.unsqueeze(0) + _KEY_SUMS)
    for index in range(ROUNDS):
        product = _swapped(even) * _FACTORS
        even, odd = high(product) ^ odd ^ keys.take(index), low(product)
    return even.cast(np.int64), odd.cast(np.int64)


def _philox_in_bits(even: Value, odd: Value, key: Value) -> tuple[Value, Value]:
    """With int64 arithmetic alone: TensorRT's parsers have neither bitwise operators nor unsigned types.

    Words are [2, N, 32] bits. A product with a constant is a weighted sum of bits, which stays below 2^38 for either
    half of the result; exclusive or is the parity of a sum.
    """
    powers = 1 << np.arange(_BITS, dtype=np.int64)
    # Both halves of a multiplier shifted by every place, [2, 1, 32].
    shifted = [[int(factor) << place for place in range(_BITS)] for factor in _FACTORS[:, 0]]
    low_weights = np.array([[value % _WORD for value in lane] for lane in shifted], np.int64)[:, None]
    high_weights = np.array([[value // _WORD for value in lane] for lane in shifted], np.int64)[:, None]

    def bits(value: Value) -> Value:
        return value.unsqueeze(_LAST) // powers % 2

    def weighted(value: Value, weights: npt.NDArray[np.int64]) -> Value:
        return (value * weights).sum(_LAST)

    keys = bits(key.unsqueeze(0) + _KEY_SUMS)
    even, odd = bits(even), bits(odd)
    for index in range(ROUNDS):
        factor = _swapped(even)
        low = weighted(factor, low_weights)
        high = weighted(factor, high_weights) + low // _WORD
        even, odd = (bits(high) + odd + keys.take(index)) % 2, bits(low)
    return weighted(even, powers), weighted(odd, powers)


PHILOX: Mapping[Dialect, Generator] = {"onnxruntime": _philox_in_words, "tensorrt": _philox_in_bits}


def _swapped(lanes: Value) -> Value:
    return lanes.take(_SWAPPED)


def uniforms(dialect: Dialect, *, seed: Value, stream: Value, position: Value, sample: Value) -> tuple[Value, Value]:
    """Two independent numbers in (0, 1) per slot, [N] float32 each.

    They come from words 0 and 1 of the counter (stream, position, sample, 0) under the key (low word of the seed,
    high word): u = ((word >> 9) + 0.5) * 2^-23, exact in float32 and never 0 or 1.

    Args:
        seed: [N] int64, 0 or more.
        stream, sample, position: [N] int32, 0 or more.
    """

    def lane(value: Value, place: int) -> Value:
        """[2, N] int64: the value as one of two lanes, and 0 as the other."""
        return value.cast(np.int64) * [[int(place == 0)], [int(place == 1)]]

    # No seed has its highest bit set, so dividing is shifting.
    key = lane(seed % _WORD, 0) + lane(seed // _WORD, 1)
    counters = lane(stream, 0) + lane(sample, 1)
    words = PHILOX[dialect](counters, lane(position, 0), key)

    def uniform(words: Value) -> Value:
        kept = (words.take(0) // (1 << 9)).cast(np.float32)
        return (kept + 0.5) * 2.0**-23

    return uniform(words[0]), uniform(words[1])

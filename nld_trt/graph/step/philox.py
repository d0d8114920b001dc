# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Philox4x32-10 in standard operators: random words as a pure function of a counter and a key.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, sections 3.3 and 5.
Words are 32-bit numbers in int64 tensors. Each runtime has a form that computes the same words with what it has.

Shapes: N slots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from nld_trt.graph.network.linear import Dialect
from nld_trt.graph.tape import Tape

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
# counters.
Generator = Callable[[Tape, str, str, str], tuple[str, str]]


def _philox_in_words(tape: Tape, even: str, odd: str, key: str) -> tuple[str, str]:
    """With uint64 and bitwise operators: ONNX Runtime."""

    def word(value: npt.ArrayLike) -> str:
        return tape.constant(value, np.uint64)

    def low(value: str) -> str:
        return tape.op("BitwiseAnd", value, word(_WORD - 1))

    even, odd, keys = (tape.op("Cast", value, to=TensorProto.UINT64) for value in (even, odd, key))
    keys = low(tape.op("Add", tape.op("Unsqueeze", keys, tape.constant([0], np.int64)), word(_KEY_SUMS)))
    for index in range(ROUNDS):
        product = tape.op("Mul", _swapped(tape, even), word(_FACTORS))
        high = tape.op("BitShift", product, word(_BITS), direction="RIGHT")
        even = tape.op("BitwiseXor", tape.op("BitwiseXor", high, odd), _round(tape, keys, index))
        odd = low(product)
    words = (tape.op("Cast", value, to=TensorProto.INT64) for value in (even, odd))
    return next(words), next(words)


def _philox_in_bits(tape: Tape, even: str, odd: str, key: str) -> tuple[str, str]:
    """With int64 arithmetic alone: TensorRT's parsers have neither bitwise operators nor unsigned types.

    Words are [2, N, 32] bits. A product with a constant is a weighted sum of bits, which stays below 2^38 for either
    half of the result; exclusive or is the parity of a sum.
    """
    powers = 1 << np.arange(_BITS, dtype=np.int64)
    # Both halves of a multiplier shifted by every place, [2, 1, 32].
    shifted = [[int(factor) << place for place in range(_BITS)] for factor in _FACTORS[:, 0]]
    low_weights = np.array([[value % _WORD for value in lane] for lane in shifted], np.int64)[:, None]
    high_weights = np.array([[value // _WORD for value in lane] for lane in shifted], np.int64)[:, None]

    def number(value: npt.ArrayLike) -> str:
        return tape.constant(value, np.int64)

    def bits(value: str) -> str:
        places = tape.op("Div", tape.op("Unsqueeze", value, number([_LAST])), number(powers))
        return tape.op("Mod", places, number(2))

    def weighted(value: str, weights: npt.NDArray[np.int64]) -> str:
        return tape.op("ReduceSum", tape.op("Mul", value, number(weights)), number([_LAST]), keepdims=0)

    keys = bits(tape.op("Add", tape.op("Unsqueeze", key, number([0])), number(_KEY_SUMS)))
    even, odd = bits(even), bits(odd)
    for index in range(ROUNDS):
        factor = _swapped(tape, even)
        low = weighted(factor, low_weights)
        high = tape.op("Add", weighted(factor, high_weights), tape.op("Div", low, number(_WORD)))
        total = tape.op("Add", tape.op("Add", bits(high), odd), _round(tape, keys, index))
        even, odd = tape.op("Mod", total, number(2)), bits(low)
    return weighted(even, powers), weighted(odd, powers)


PHILOX: Mapping[Dialect, Generator] = {"onnxruntime": _philox_in_words, "tensorrt": _philox_in_bits}


def _swapped(tape: Tape, lanes: str) -> str:
    return tape.op("Gather", lanes, tape.constant(_SWAPPED, np.int64), axis=0)


def _round(tape: Tape, keys: str, index: int) -> str:
    return tape.op("Gather", keys, tape.constant(index, np.int64), axis=0)


def uniforms(tape: Tape, dialect: Dialect, *, seed: str, stream: str, position: str, draw: str) -> tuple[str, str]:
    """Two independent numbers in (0, 1) per slot, [N] float32 each.

    They come from words 0 and 1 of the counter (stream, position, draw, 0) under the key (low word of the seed,
    high word): u = ((word >> 9) + 0.5) * 2^-23, exact in float32 and never 0 or 1.

    Args:
        seed: [N] int64, 0 or more.
        stream, draw, position: [N] int32, 0 or more.
    """

    def number(value: npt.ArrayLike) -> str:
        return tape.constant(value, np.int64)

    def lanes(first: str, second: str | None = None) -> str:
        """[2, N] int64: two values as the two lanes, 0 where there is no second."""
        parts = []
        for value, place in ((first, [1, 0]), (second, [0, 1])):
            if value is not None:
                unit = number(np.reshape(place, (2, 1)))
                parts.append(tape.op("Mul", tape.op("Cast", value, to=TensorProto.INT64), unit))
        return parts[0] if len(parts) == 1 else tape.op("Add", *parts)

    # No seed has its highest bit set, so dividing is shifting.
    key = lanes(tape.op("Mod", seed, number(_WORD)), tape.op("Div", seed, number(_WORD)))
    words = PHILOX[dialect](tape, lanes(stream, draw), lanes(position), key)

    def uniform(words: str) -> str:
        word = tape.op("Gather", words, number(0), axis=0)
        kept = tape.op("Cast", tape.op("Div", word, number(1 << 9)), to=TensorProto.FLOAT)
        return tape.op("Mul", tape.op("Add", kept, tape.constant(0.5, np.float32)), tape.constant(2.0**-23, np.float32))

    return uniform(words[0]), uniform(words[1])

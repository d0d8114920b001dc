# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The random words against published ones, and the slots' numbers against NumPy, in the arithmetic of each runtime."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nld_trt.graph.step.philox import PHILOX, uniforms
from nld_trt.graph.tape import Tape
from nld_trt.measure.kernels import reference
from tests.chi_square import chi_square
from tests.graph.functions import open_nodes

DIALECTS = ("onnxruntime", "tensorrt")
ONES = 0xFFFFFFFF

# Counter, key, words: known answers for philox4x32 with 10 rounds, from the authors' library Random123 (kat_vectors).
PUBLISHED = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES, ONES, ONES, ONES), (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@lru_cache
def words_session(dialect):
    tape = Tape()
    lanes = [tape.named(name, np.int64) for name in ("even", "odd", "key")]
    for name, value in zip(("first", "second"), PHILOX[dialect](*lanes), strict=True):
        tape.op("Identity", value, name=name)
    lanes = (np.int64, [2, "N"])
    return open_nodes(
        tape.nodes, dict.fromkeys(("even", "odd", "key"), lanes), dict.fromkeys(("first", "second"), (np.int64, None)),
        initializers=tape.constants,
    )  # fmt: skip


def words(dialect, counters, keys):
    """[N, 4] of counters [N, 4] and keys [N, 2]."""

    def lanes(first, second):
        return np.array([first, second], np.int64).reshape(2, -1)

    c, k = np.transpose(counters), np.transpose(keys)
    feeds = {"even": lanes(c[0], c[2]), "odd": lanes(c[1], c[3]), "key": lanes(k[0], k[1])}
    even, odd = (value.reshape(2, -1) for value in words_session(dialect).run(None, feeds))
    return np.stack([even[0], odd[0], even[1], odd[1]], axis=1)


def reference_words(counters, keys):
    """[N, 4] likewise, by the definition."""
    return np.transpose(reference.philox(*(np.transpose(each).astype(np.uint64) for each in (counters, keys))))


@lru_cache
def uniform_session(dialect):
    tape = Tape()
    inputs = {"seed": (np.int64, ["N"])} | dict.fromkeys(("stream", "position", "sample"), (np.int32, ["N"]))
    numbers = uniforms(dialect, **{name: tape.named(name, dtype) for name, (dtype, _) in inputs.items()})
    for name, value in zip(("first", "second"), numbers, strict=True):
        tape.op("Identity", value, name=name)
    outputs = dict.fromkeys(("first", "second"), (np.float32, None))
    return open_nodes(tape.nodes, inputs, outputs, initializers=tape.constants)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_words_are_the_published_ones(dialect):
    counters, keys, expected = zip(*PUBLISHED, strict=True)
    assert words(dialect, counters, keys).tolist() == [list(each) for each in expected]
    assert np.transpose(
        reference.philox(*(np.transpose(words).astype(np.uint64) for words in (counters, keys)))
    ).tolist() == [list(each) for each in expected]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_words_of_random_counters_are_those_of_numpy(dialect):
    rng = np.random.default_rng(3)
    counters, keys = (rng.integers(0, 2**32, (5000, size)) for size in (4, 2))
    expected = reference_words(counters, keys)
    assert (words(dialect, counters, keys) == expected).all()


@settings(max_examples=50)
@given(
    st.sampled_from(DIALECTS),
    st.lists(
        st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1), st.integers(0, 1)),
        min_size=1,
        max_size=8,
    ),
)
def test_numbers_depend_on_seed_position_draw_and_stream_alone(dialect, slots):
    """Every slot among others has exactly the numbers that the definition gives it by itself."""
    seeds, positions, turns, streams = zip(*slots, strict=True)
    feeds = {
        "seed": np.array(seeds, np.int64),
        "position": np.array(positions, np.int32),
        "sample": np.array(turns, np.int32),
        "stream": np.array(streams, np.int32),
    }
    found = np.stack(uniform_session(dialect).run(None, feeds), axis=-1)
    assert (found == np.array([reference.uniforms(*slot) for slot in slots], np.float32)).all()


def test_numbers_are_spread_evenly_and_never_at_the_ends():
    seeds, positions = np.divmod(np.arange(40_000), 400)
    none = np.zeros(40_000, np.int32)
    feeds = {"seed": seeds, "position": positions.astype(np.int32), "sample": none, "stream": none}
    for numbers in uniform_session("onnxruntime").run(None, feeds):
        assert numbers.min() > 0
        assert numbers.max() < 1
        statistic, limit = chi_square(np.histogram(numbers, 50, (0, 1))[0], np.full(50, 0.02))
        assert statistic < limit

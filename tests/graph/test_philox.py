# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The random words against published ones, and the noise against NumPy, in the arithmetic of each runtime."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from nld_trt.graph.philox import ARITHMETIC, gumbel_noise, philox
from nld_trt.graph.tape import Tape
from tests.graph import gumbel
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
    arithmetic, tape = ARITHMETIC[dialect], Tape()
    inputs = [tape.op("Cast", name, to=arithmetic.element) for name in ("even", "odd", "key")]
    for name, value in zip(("first", "second"), philox(tape, arithmetic, *inputs), strict=True):
        tape.op("Cast", value, to=TensorProto.INT64, name=name)
    lanes = (np.int64, [2, 1, 1, "N"])
    return open_nodes(
        tape.nodes, dict.fromkeys(("even", "odd", "key"), lanes), dict.fromkeys(("first", "second"), (np.int64, None)),
        initializers=tape.constants,
    )  # fmt: skip


def words(dialect, counters, keys):
    """[N, 4] of counters [N, 4] and keys [N, 2]."""

    def lanes(first, second):
        return np.array([first, second], np.int64).reshape(2, 1, 1, -1)

    c, k = np.transpose(counters), np.transpose(keys)
    feeds = {"even": lanes(c[0], c[2]), "odd": lanes(c[1], c[3]), "key": lanes(k[0], k[1])}
    even, odd = (value.reshape(2, -1) for value in words_session(dialect).run(None, feeds))
    return np.stack([even[0], odd[0], even[1], odd[1]], axis=1)


@lru_cache
def noise_session(dialect, vocab):
    tape = Tape()
    noise = gumbel_noise(
        tape, ARITHMETIC[dialect], size=tape.constant(vocab, np.int64), seed="seed", position="position", draw="draw"
    )
    tape.op("Identity", noise, name="noise")
    inputs = {"seed": (np.int64, ["B"]), "position": (np.int32, ["B", "W"]), "draw": (np.int32, ["B"])}
    return open_nodes(tape.nodes, inputs, {"noise": (np.float32, None)}, initializers=tape.constants)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_words_are_the_published_ones(dialect):
    counters, keys, expected = zip(*PUBLISHED, strict=True)
    assert words(dialect, counters, keys).tolist() == [list(each) for each in expected]
    assert np.transpose(gumbel.philox(np.transpose(counters), np.transpose(keys))).tolist() == [
        list(each) for each in expected
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_words_of_random_counters_are_those_of_numpy(dialect):
    rng = np.random.default_rng(3)
    counters, keys = (rng.integers(0, 2**32, (5000, size)) for size in (4, 2))
    expected = np.transpose(gumbel.philox(np.transpose(counters), np.transpose(keys)))
    assert (words(dialect, counters, keys) == expected).all()


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(DIALECTS),
    st.sampled_from([1, 4, 6, 257]),
    st.lists(st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**31 - 1)), min_size=1, max_size=4),
    st.integers(1, 5),
    st.integers(0, 2**31 - 6),
)
def test_noise_depends_on_seed_position_draw_and_token_alone(dialect, vocab, rows, width, start):
    """Every row and slot of a batch has exactly the noise that the definition gives it by itself."""
    seeds, draws = zip(*rows, strict=True)
    position = np.tile(np.arange(start, start + width, dtype=np.int32), (len(rows), 1))
    feeds = {"seed": np.array(seeds, np.int64), "draw": np.array(draws, np.int32), "position": position}
    (noise,) = noise_session(dialect, vocab).run(None, feeds)
    expected = [
        [gumbel.gumbel(seed, place, draw, vocab) for place in range(start, start + width)] for seed, draw in rows
    ]
    np.testing.assert_allclose(noise, expected, rtol=1e-5, atol=1e-6)


def test_noise_has_the_mean_and_spread_of_a_gumbel_distribution():
    feeds = {"seed": np.array([5], np.int64), "draw": np.zeros(1, np.int32), "position": np.arange(400, dtype=np.int32)}
    (noise,) = noise_session("onnxruntime", 257).run(None, feeds | {"position": feeds["position"][None]})
    assert noise.mean() == pytest.approx(np.euler_gamma, abs=0.02)
    assert noise.std() == pytest.approx(np.pi / 6**0.5, abs=0.02)
    assert len(np.unique(noise)) > 0.99 * noise.size

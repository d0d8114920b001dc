# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Draws without a draft: the kernels, run on the CPU, against the ONNX functions and the definition in NumPy."""

from __future__ import annotations

import ctypes
from itertools import product

import numpy as np
import pytest

from nld_trt.engine.gpu.kernels import launch
from nld_trt.graph.step.scores import COLDEST
from nld_trt.graph.step.tensors import CANDIDATES
from nld_trt.measure.kernels import reference
from nld_trt.measure.kernels.cases import DTYPES, MASK, SIZES, case
from tests.chi_square import chi_square
from tests.engine.gpu.kernels.oracle import assert_same, onnx_step

FILTERS = ({}, {"top_k": 20}, {"top_p": 0.8, "min_p": 0.01})


@pytest.mark.parametrize("logit_type", DTYPES)
@pytest.mark.parametrize("temperature", [1e-38, 1e-3, 0.7, 1.0, 5.0, 3e38])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_sampled_step_follows_the_definition(kernels, sizes, temperature, logit_type):
    values = case(*sizes, logit_type, temperature=temperature)
    if sizes[2] < 131071:  # a sort of the largest takes longer than all else
        values["cut"][:, ::2] = np.partition(values["logits"], -20, -1)[:, ::2, -20]
    found = kernels.step(values, logit_type)
    assert reference.differences(found, values, MASK) == []
    assert (found["verified_tokens"] == reference.choices(values, MASK)).mean() >= 0.99


@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize("temperature", [1e-38, 0.8, 3e38])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_sampled_step_is_the_onnx_functions(kernels, sizes, temperature, filters):
    values = case(*sizes, "bf16", temperature=temperature, seed=1)
    expected = onnx_step(values, **filters)
    values["cut"] = expected["cut"]
    assert_same(kernels.step(values, "bf16"), expected, values)


@pytest.mark.parametrize("logit_type", DTYPES)
def test_every_token_is_the_one_that_the_definition_gives(kernels, logit_type):
    values = case(4, 9, 700, logit_type, temperature=0.8)
    values |= {"drafted_ids": np.full_like(values["drafted_ids"], -1), "stream": np.array([0, 1, 0, 1])}
    tokens = kernels.step(values, logit_type)["verified_tokens"]
    for row, slot in product(range(4), range(9)):
        key = {name: int(values[name][row]) for name in ("seed", "sample", "stream")}
        position, logits = int(values["position"][row, slot]), values["logits"][row, slot]
        expected = reference.sample(logits, MASK, position=position, temperature=np.float32(0.8), **key)
        assert tokens[row, slot] == expected, (row, slot)


@pytest.mark.parametrize("spread", [0.0, 1e-30, 1000.0])
def test_flat_and_steep_logits(kernels, spread):
    values = case(2, 6, 8200, spread=spread, temperature=0.9)
    assert_same(kernels.step(values), onnx_step(values), values)


def test_minus_infinity_is_never_drawn(kernels):
    values = case(2, 5, 9000, temperature=2.0)
    values["logits"][:, :, ::2] = -np.inf
    values["logits"][0, 1, :-2] = -np.inf
    found = kernels.step(values)
    drawn = np.take_along_axis(values["logits"], found["verified_tokens"][..., None], -1)
    assert np.isfinite(drawn).all()
    assert_same(found, onnx_step(values), values)


@pytest.mark.parametrize("vocab", [256, 8195, 30001])
def test_all_that_tie_at_the_cut_can_be_drawn(kernels, vocab):
    """Wherever they lie, and nothing below them."""
    rng = np.random.default_rng(vocab)
    tied = rng.choice(np.delete(np.arange(vocab), MASK), 6, replace=False)
    logits = np.full((64, 64, vocab), -1.0, np.float32)
    logits[..., tied] = 2.0
    tokens = drawn(kernels, logits[:16], cut=np.full((16, 64), 2.0))
    assert set(np.unique(tokens)) == set(tied)


def test_mask_is_never_drawn_and_stays_in_the_denominator(kernels):
    logits = np.zeros((1, 1, 9001), np.float32)
    logits[0, 0, MASK], logits[0, 0, 7] = 50.0, 30.0
    found = kernels.step({"logits": logits, "temperature": np.ones(1), "threshold": np.full(1, 2.0)})
    assert found["verified_tokens"][0, 0] == 7
    np.testing.assert_allclose(found["confidence"][0, 0], np.exp(30.0 - 50.0), rtol=1e-4)


def drawn(kernels, logits, **values):
    """Tokens of rows and slots that differ in position and sample alone."""
    rows, slots = logits.shape[:2]
    plain = {
        "temperature": np.ones(rows),
        "seed": np.full(rows, 1234567890123),
        "sample": np.arange(rows),
        "position": np.tile(np.arange(slots), (rows, 1)),
    }
    return kernels.step({"logits": logits, **plain, **values})["verified_tokens"]


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_frequencies_are_those_of_the_softmax(kernels, temperature):
    logits = np.full((64, 256), -1e9, np.float32)
    logits[:, :40] = np.random.default_rng(2).normal(scale=1.5, size=40)
    tiled = np.broadcast_to(logits, (64, 64, 256))
    tokens = [drawn(kernels, tiled, temperature=np.full(64, temperature), seed=np.full(64, seed)) for seed in range(6)]
    counts = np.bincount(np.ravel(tokens), minlength=256)
    assert counts.sum() >= 20_000
    statistic, limit = chi_square(counts, reference.distribution(logits[0], MASK, temperature=temperature))
    assert statistic < limit


@pytest.mark.parametrize("temperature", [1e-38, 1e-6, 1e-3])
def test_least_temperatures_share_ties_evenly(kernels, temperature):
    logits = np.full((64, 64, 256), 10.0, np.float32)
    logits[..., [20, 30, 40]] = 30.0
    tokens = drawn(kernels, logits, temperature=np.full(64, temperature))
    share = np.array([(tokens == token).mean() for token in (20, 30, 40)])
    np.testing.assert_allclose(share, 1 / 3, atol=4 * np.sqrt(0.25 / tokens.size))


def test_random_numbers_depend_on_every_part_of_their_address(kernels):
    values = case(1, 4, 2000, spread=0.0, temperature=1.0)
    first = kernels.step(values)["verified_tokens"]
    np.testing.assert_array_equal(kernels.step(values)["verified_tokens"], first)
    for name, change in {"seed": 1, "stream": 1, "sample": 1, "position": 1}.items():
        other = kernels.step(values | {name: values[name] + change})["verified_tokens"]
        assert (other != first).any(), name
    other = kernels.step(values | {"seed": values["seed"] ^ (1 << 40)})["verified_tokens"]
    assert (other != first).any(), "the upper half of the seed"


def inverted(library, logits, uniform, *, sums=None, cut=-np.inf):
    """One sample at temperature 1 from float32 logits [V], with the splits' sums that are right, or with others."""
    logits = np.ascontiguousarray(logits, np.float32)
    weights = np.exp(logits.astype(np.float64) - logits.max()) * (logits >= cut)
    right = np.zeros(32, np.float32)
    for split in range(launch.ceil_div(len(logits), launch.CHUNK)):
        right[split] = weights[split * launch.CHUNK : (split + 1) * launch.CHUNK].sum()
    sums = right if sums is None else np.asarray([*sums, *[0.0] * (32 - len(sums))], np.float32)
    floats = (ctypes.c_float(value) for value in (cut, 1.0, logits.max()))
    pointers = (ctypes.c_void_p(array.ctypes.data) for array in (logits, sums))
    return library.sample_from(next(pointers), len(logits), *floats, next(pointers), ctypes.c_float(uniform))


@pytest.mark.parametrize("vocab", [256, 1023, 8193, 40000])
def test_a_draw_is_the_first_token_whose_cumulative_weight_goes_beyond_the_share(library, vocab):
    """Of few tokens with equal weights, wherever they lie, in the middle of their probabilities."""
    rng = np.random.default_rng(vocab)
    for count in (1, 2, 7, 64):
        tokens = np.sort(rng.choice(vocab, count, replace=False))
        logits = np.full(vocab, -np.inf)
        logits[tokens] = 3.0
        found = [inverted(library, logits, (index + 0.5) / count) for index in range(count)]
        assert found == tokens.tolist()


@pytest.mark.parametrize("vocab", [256, 8193])
def test_least_and_greatest_share_give_the_first_and_the_last_token(library, vocab):
    logits = np.full(vocab, -np.inf)
    logits[[3, 50, vocab - 1]] = 1.0
    assert inverted(library, logits, 2.0**-24) == 3
    assert inverted(library, logits, 1 - 2.0**-24) == vocab - 1
    logits[vocab - 1] = -np.inf
    assert inverted(library, logits, 1 - 2.0**-24) == 50


def test_split_whose_sum_is_rounding_alone_is_passed_over(library):
    """Nothing in it can be drawn: the sample is from the splits that have something."""
    logits = np.full(3 * launch.CHUNK, -np.inf)
    logits[[5, 2 * launch.CHUNK + 9]] = 1.0
    assert inverted(library, logits, 0.5, sums=[1.0, 1e6, 1.0]) in (5, 2 * launch.CHUNK + 9)
    assert inverted(library, logits, 0.9, sums=[0.0, 1e-8, 0.0]) == -1


def test_sum_that_is_larger_than_its_tokens_gives_the_last_of_them(library):
    logits = np.full(2 * launch.CHUNK, -np.inf)
    logits[[5, 700, launch.CHUNK + 1]] = 1.0
    assert inverted(library, logits, 0.9, sums=[2.5, 0.0]) == 700


def test_draw_beyond_all_sums_gives_the_last_token_of_its_vector(library):
    """A share can be beyond the tokens by rounding alone: the split's sum was added in another order."""
    logits = np.full(300, -np.inf)
    logits[128:132] = 0.0
    assert inverted(library, logits, 1 - 2.0**-24, sums=[4 * (1 + 2e-7)]) == 131


def test_nothing_to_draw_is_no_token(library):
    assert inverted(library, np.zeros(300), 0.5, sums=[0.0]) == -1
    assert inverted(library, np.zeros(300), 0.5, sums=[np.nan]) == -1


def test_coldest_temperature_is_that_of_the_definition(root):
    text = (root / "plugins" / "sampling.h").read_text(encoding="utf-8")
    assert f"constexpr float kColdest = {COLDEST}f;" in text


def test_greedy_rows_read_nothing_of_what_sampling_needs(kernels):
    values = case(2, 20, 3000)
    plain = kernels.step(values)
    other = {
        "cut": np.full((2, 20), 99.0),
        "drafted_ids": np.full((2, 20, CANDIDATES), 2**31 - 1),
        "seed": values["seed"] + 1,
        "stream": values["stream"] + 1,
    }
    for name, found in kernels.step(values | other).items():
        np.testing.assert_array_equal(found, plain[name], err_msg=name)

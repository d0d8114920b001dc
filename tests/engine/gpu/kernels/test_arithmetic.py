# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The kernels' arithmetic, run on the CPU, against the ONNX functions and against NumPy."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from nld_trt.engine.gpu.kernels import launch
from nld_trt.graph.contract import quadratic_width
from nld_trt.measure.kernels import reference
from nld_trt.measure.kernels.cases import (
    DTYPES,
    MASK,
    PATTERNS,
    ROWS,
    SIZES,
    all_masks,
    case,
    filtered,
    matching_draft,
    mostly_minus_infinity,
    spoils,
    tie,
    with_rows,
)
from nld_trt.measure.kernels.check import spoilable, spoiled_problems
from nld_trt.model.config import MAX_EOS_IDS
from tests.engine.gpu.kernels.oracle import assert_same, onnx_step


@pytest.mark.parametrize("logit_type", DTYPES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_greedy_step_is_the_onnx_functions(kernels, sizes, logit_type):
    values = case(*sizes, logit_type)
    found = kernels.step(values, logit_type)
    assert_same(found, onnx_step(values))
    assert found["finite"].tolist() == [1] * sizes[0]
    share = reference.probabilities(values["logits"])
    share = np.take_along_axis(share, found["verified_tokens"][..., None], -1)[..., 0]
    masked = found["confidence"] >= 0
    np.testing.assert_allclose(found["confidence"][masked], share[masked], rtol=2e-6)


@pytest.mark.parametrize("width", [*range(1, 66), quadratic_width(8), 127, quadratic_width(15), 256])
def test_every_window_width(kernels, width):
    values = case(2, width, 263, seed=width)
    assert_same(kernels.step(values), onnx_step(values))


@pytest.mark.parametrize("spread", [0.0, 1e-30, 1000.0])
def test_flat_and_steep_logits(kernels, spread):
    values = case(2, 6, 8200, spread=spread)
    values["threshold"][:] = 1e-4
    assert_same(kernels.step(values), onnx_step(values))


@pytest.mark.parametrize("logit_type", DTYPES)
@pytest.mark.parametrize("vocab", [256, 8195, 30001])
def test_lowest_id_wins_a_tie(kernels, logit_type, vocab):
    logits = np.empty((1, 64, vocab), np.float32)
    tie(logits)
    tied = [np.flatnonzero(slot == 2.0) for slot in logits[0]]
    expected = [next((token for token in tokens if token != MASK), 0) for tokens in tied]
    assert max(map(len, tied)) == 8
    assert kernels.step({"logits": logits}, logit_type)["verified_tokens"][0].tolist() == expected


@pytest.mark.parametrize("vocab", [256, 9001])
def test_mask_is_never_chosen_and_stays_in_the_denominator(kernels, vocab):
    logits = np.zeros((1, 1, vocab), np.float32)
    logits[0, 0, MASK], logits[0, 0, 7] = 50.0, 1.0
    found = kernels.step({"logits": logits, "threshold": np.full(1, 2.0), "quota": np.ones(1)})
    assert (found["block_tokens"][0, 0], found["verified_tokens"][0, 0]) == (7, 7)
    np.testing.assert_allclose(found["confidence"][0, 0], np.exp(1.0 - 50.0), rtol=1e-4)


def test_minus_infinity_is_an_ordinary_logit(kernels):
    values = case(2, 5, 9000, pattern=mostly_minus_infinity)
    assert_same(kernels.step(values), onnx_step(values))


SPOILS = spoils(9000)


@pytest.mark.parametrize("logit_type", DTYPES)
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
def test_row_that_is_not_finite_is_left_alone_with_its_neighbours(kernels, spoil, rows, logit_type):
    values = spoilable(9000, logit_type, rows)
    assert list(spoiled_problems(kernels.step, values, logit_type, spoil)) == []


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
def test_spoiled_logits_decide_nothing(kernels, spoil):
    values = spoilable(9000, "fp32", "greedy")
    spoil(values["logits"][1, 2])
    found = kernels.step(values)
    assert found["finite"].tolist() == [1, 0, 1]
    assert found["verified_tokens"][1, 2] == -1
    assert (found["accepted_count"][1], found["bonus_token"][1]) == (0, -1)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_patterns_follow_the_definition(kernels, pattern, rows):
    values = with_rows(filtered(case(4, 5, 9001, "bf16", pattern=pattern)), rows)
    assert reference.differences(kernels.step(values, "bf16"), values, MASK) == []


@pytest.mark.parametrize("rows", ROWS)
def test_timed_draft_is_accepted_whole(kernels, rows):
    values = with_rows(matching_draft(case(4, 9, 3000, "bf16")), rows)
    found = kernels.step(values, "bf16")
    assert found["accepted_count"].tolist() == [9] * 4
    assert found["eos_position"].tolist() == [9] * 4


@pytest.mark.parametrize("rows", ROWS)
def test_timed_block_is_all_masks(kernels, rows):
    values = with_rows(all_masks(case(4, 9, 3000, "bf16")), rows)
    assert (values["block"] == MASK).all()
    assert values["valid"].tolist() == values["verify_valid"].tolist() == [9] * 4
    assert (kernels.step(values, "bf16")["masks_left"] < 9).all()


def test_row_without_eos_has_no_eos_position(kernels):
    """Not even where it has no real slot and its padding, without a token, holds the same -1."""
    values = case(2, 4, 300) | {
        "valid": np.zeros(2),
        "verify_valid": np.zeros(2),
        "eos_token_id": np.full((2, MAX_EOS_IDS), -1),
    }
    values["logits"][1, 0, 5] = np.nan
    found = kernels.step(values)
    assert (found["verified_tokens"][1, 0], found["eos_position"].tolist()) == (-1, [4, 4])


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("place", range(MAX_EOS_IDS))
def test_first_accepted_of_any_eos_ids_is_found(kernels, place, rows):
    """Wherever in its row's list the id stands, and whatever the other ids of other rows are."""
    values = with_rows(matching_draft(case(4, 40, 300)), rows)
    chosen = kernels.step(values)["verified_tokens"]
    wanted = [3, 39, 0, 20]
    values["eos_token_id"][:, place] = chosen[range(4), wanted]
    values["eos_token_id"][:, (place + 1) % MAX_EOS_IDS] = chosen[:, 39]
    expected = [
        min(list(row).index(token) for token in ids if token >= 0)
        for row, ids in zip(chosen, values["eos_token_id"], strict=True)
    ]
    assert kernels.step(values)["eos_position"].tolist() == expected


def test_rows_choose_their_own_temperature(kernels):
    values = case(2, 3, 3000, temperature=0.9)
    sampled = kernels.step(values)
    values["temperature"][1] = 0
    mixed = kernels.step(values)
    greedy = kernels.step(values | {"temperature": np.zeros(2)})
    for name, found in mixed.items():
        np.testing.assert_array_equal(found, np.stack([sampled[name][0], greedy[name][1]]), err_msg=name)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_fewer_slots_can_be_verified_than_are_real(kernels, temperature):
    """As in quadratic passes: masks after the drafts are denoised, and only the drafts verified."""
    values = case(8, 12, 300, temperature=temperature) | {"valid": np.full(8, 12), "verify_valid": np.arange(1, 9)}
    values["drafted_ids"][:] = -1
    best = kernels.step(values)["verified_tokens"]
    values["block"][:, 1:8] = best[:, :7]
    found = kernels.step(values)
    assert found["accepted_count"].tolist() == list(range(1, 9))
    assert_same(found, onnx_step(values), values)


@pytest.mark.parametrize("temperature", [0.0, 0.5])
@pytest.mark.parametrize(
    ("sizes", "logit_type"),
    [((5, 7, 20000), "fp32"), ((9, 3, 257), "bf16"), ((9, 3, 257), "fp32"), ((2, 1, 131071), "fp16")],
)
def test_result_of_a_row_does_not_depend_on_its_batch(kernels, sizes, logit_type, temperature):
    """Nor on how its logits are aligned there, where the vocabulary is no multiple of 16 bytes."""
    values = case(*sizes, logit_type, temperature=temperature)
    together = kernels.step(values, logit_type)
    for row in range(sizes[0]):
        alone = kernels.step({name: value[row : row + 1] for name, value in values.items()}, logit_type)
        for name, found in together.items():
            np.testing.assert_array_equal(alone[name][0], found[row], err_msg=name)


@pytest.mark.parametrize("logit_type", DTYPES)
@pytest.mark.parametrize("vocab", [257, 131071])
def test_first_of_equal_slots_is_committed(kernels, vocab, logit_type):
    logits = np.random.default_rng(vocab).normal(scale=3.0, size=vocab).astype(DTYPES[logit_type]).astype(np.float32)
    values = {"logits": np.tile(logits, (1, 9, 1)), "threshold": np.full(1, 2.0), "quota": np.ones(1)}
    found = kernels.step(values, logit_type)
    assert np.flatnonzero(found["block_tokens"][0] != MASK).tolist() == [0]


def test_denoise_with_threshold_zero_fills_the_block(kernels):
    values = case(2, 32, 5000) | {"block": np.full((2, 32), MASK), "valid": np.full(2, 32), "threshold": np.zeros(2)}
    found = kernels.step(values)
    assert (found["block_tokens"] != MASK).all()
    assert not found["masks_left"].any()


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_random_words_are_the_published_ones(library, counter, key, words):
    """Known answers that the authors of Philox publish; the reference has to give them as well."""
    found = (ctypes.c_uint * 4)()
    library.random_words((ctypes.c_uint * 4)(*counter), *(ctypes.c_uint(part) for part in key), found)
    assert " ".join(f"{word:08x}" for word in found) == words
    expected = reference.philox(tuple(counter), tuple(key))
    assert " ".join(f"{word:08x}" for word in expected) == words


def test_uniform_numbers_are_exact_and_never_0_or_1(library):
    library.uniform_of.restype = ctypes.c_float
    for word in (0, 1, 511, 512, 2**31, 2**32 - 512, 2**32 - 1):
        found = library.uniform_of(ctypes.c_uint(word))
        assert found == ((word >> 9) + 0.5) * 2.0**-23
        assert 0 < found < 1


def test_every_half_precision_number_is_widened_exactly(library):
    halves = np.arange(1 << 16, dtype=np.uint16)
    found = np.empty(1 << 16, np.float32)
    library.widen_fp16(ctypes.c_void_p(halves.ctypes.data), ctypes.c_void_p(found.ctypes.data), 1 << 16)
    np.testing.assert_array_equal(found, halves.view(np.float16).astype(np.float32))


@pytest.mark.parametrize("logit_type", ["bf16", "fp16"])
def test_every_number_of_16_bits_fills_a_word_exactly(library, logit_type):
    halves = np.arange(1 << 16, dtype=np.uint16)
    values = halves.view(DTYPES[logit_type]).astype(np.float32)
    numbers = ~np.isnan(values)
    found = np.empty(1 << 16, np.uint32)
    fill = getattr(library, f"fill_{logit_type}")
    fill(ctypes.c_void_p(values.ctypes.data), ctypes.c_void_p(found.ctypes.data), 1 << 16)
    np.testing.assert_array_equal(found[numbers], (halves.astype(np.uint32) * 0x10001)[numbers])


def test_zeros_of_both_signs_tie(kernels):
    """The packed comparison of 16 bits takes them for equal, as every other does: the lowest id wins."""
    for logit_type in DTYPES:
        logits = np.full((1, 3, 9000), -1.0, np.float32)
        for slot, (first, second) in enumerate([(-0.0, 0.0), (0.0, -0.0), (-0.0, -0.0)]):
            logits[0, slot, [7 + slot, 5000]] = first, second
        assert kernels.step({"logits": logits}, logit_type)["verified_tokens"][0].tolist() == [7, 8, 9]


def test_slots_have_lanes_for_every_split(root):
    text = (root / "plugins" / "block_decision.h").read_text(encoding="utf-8")
    splits = launch.ceil_div(launch.LIMITS["vocab"][1], launch.CHUNK)
    assert f"constexpr int kMostSplits = {splits};" in text

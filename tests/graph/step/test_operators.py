# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The decode operators against the definition in NumPy, one property each."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nld_trt.graph.step.denoise import BLOCK_DENOISE
from nld_trt.graph.step.verify import SPEC_VERIFY
from nld_trt.measure.kernels import reference
from nld_trt.model.config import MAX_EOS_IDS
from tests.graph.functions import run_operators

MASK, VOCAB = 5, 12


def denoise(logits, block, valid, threshold, quota):
    found = run_operators(MASK, logits, block=block, valid=valid, threshold=threshold, quota=quota)
    return [found[name] for name in BLOCK_DENOISE.outputs]


def verify(logits, block, valid, eos):
    found = run_operators(MASK, logits, block=block, valid=valid, eos_token_id=eos)
    return [found[name] for name in SPEC_VERIFY.outputs]


@st.composite
def cases(draw):
    rows, width = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=draw(st.sampled_from([0.5, 3.0])), size=(rows, width, VOCAB))
    if draw(st.booleans()):
        logits = np.round(logits)  # ties between tokens and between slots
    block = rng.integers(0, VOCAB, (rows, width))
    block[rng.random((rows, width)) < 0.6] = MASK
    valid = rng.integers(1, width + 1, rows)
    return logits, block, valid, rng


@settings(max_examples=150)
@given(cases(), st.sampled_from([0.0, 0.2, 0.5, 0.9, 2.0]), st.integers(0, 3))
def test_denoise_commits_the_confident_and_the_best_of_the_masked(case, threshold, quota):
    logits, block, valid, _ = case
    rows = len(block)
    tokens, confidence, left = denoise(logits, block, valid, [threshold] * rows, [quota] * rows)
    choice = reference.greedy(logits, MASK)
    given = {"block": block, "valid": valid, "quota": [quota] * rows, "threshold": np.full(rows, threshold, np.float32)}
    expected, masks = reference.denoise(given, choice, confidence, MASK)
    assert tokens.tolist() == expected.tolist()
    assert left.tolist() == masks.tolist()
    probability = np.take_along_axis(reference.probabilities(logits), choice[..., None], -1)[..., 0]
    masked = (block == MASK) & (np.arange(block.shape[1]) < valid[:, None])
    np.testing.assert_allclose(confidence[masked], probability[masked], rtol=1e-5)
    assert (confidence[~masked] == -1).all()


@settings(max_examples=50)
@given(cases())
def test_denoise_with_threshold_zero_is_the_one_shot_draft(case):
    logits, block, valid, _ = case
    rows = len(block)
    tokens, _, left = denoise(logits, block, valid, [0.0] * rows, [0] * rows)
    assert not left.any()
    for row in range(rows):
        assert MASK not in tokens[row, : valid[row]]


def test_denoise_never_chooses_mask_even_when_it_is_most_likely():
    logits = np.zeros((1, 1, VOCAB))
    logits[0, 0, MASK], logits[0, 0, 7] = 50.0, 1.0
    tokens, confidence, _ = denoise(logits, [[MASK]], [1], [2.0], [1])
    assert tokens[0, 0] == 7
    assert confidence[0, 0] < 1e-6, "MASK stays in the softmax denominator"


def test_lowest_id_wins_a_tie():
    logits = np.zeros((1, 2, VOCAB))
    tokens, _, _ = denoise(logits, [[MASK, MASK]], [2], [0.0], [0])
    verified, *_ = verify(logits, [[3, 3]], [2], [-1])
    assert tokens.tolist() == [[0, 0]]
    assert verified.tolist() == [[0, 0]]


def test_padding_slots_are_never_committed():
    tokens, _, left = denoise(np.zeros((1, 3, VOCAB)), [[1, MASK, MASK]], [2], [0.0], [3])
    assert tokens.tolist() == [[1, 0, MASK]]
    assert left.tolist() == [0]


@settings(max_examples=150)
@given(cases(), st.lists(st.integers(-1, VOCAB - 1), min_size=MAX_EOS_IDS, max_size=MAX_EOS_IDS))
def test_verify_accepts_the_longest_matching_run(case, eos):
    logits, block, valid, rng = case
    rows, width = block.shape
    choice = reference.greedy(logits, MASK)
    # Make long matches likely: copy the verifier's answers into the draft up to a random slot.
    for row in range(rows):
        reach = rng.integers(0, width + 1)
        block[row, 1 : 1 + reach] = choice[row, :reach][: width - 1]
    verified, *found = verify(logits, block, valid, [eos] * rows)
    assert verified.tolist() == choice.tolist()
    given = {"block": block, "verify_valid": valid, "eos_token_id": np.array([eos] * rows)}
    for name, value, expected in zip(SPEC_VERIFY.outputs[1:], found, reference.verify(given, choice), strict=True):
        assert value.tolist() == expected.tolist(), name

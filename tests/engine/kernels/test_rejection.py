# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Rejection sampling: a draft token that came from a list of candidates is kept as often as it should be."""

from __future__ import annotations

import numpy as np
import pytest

from nld_trt.engine.kernels import reference
from nld_trt.engine.kernels.cases import DTYPES, MASK, case
from nld_trt.graph.plugin_operators import CANDIDATES

ROWS, SLOTS, VOCAB = 64, 64, 256
# Tokens that can come out, on both sides of the list's end.
SUPPORT = 12
# Exceeded by one in 1000 of the sums of 11 squared normal deviates.
CHI_SQUARE_LIMIT = 31.3


def softmax(logits, temperature):
    return reference.probabilities(np.asarray(logits, np.float64) / temperature)


def one_slot(logits, ids, shares, draft, *, temperature=1.0, cut=-np.inf, slots=SLOTS, rows=ROWS):
    """Rows in which every slot but the last predicts the same, and is followed by the same draft token."""
    vocab = len(logits)
    listed, drafted = np.full(CANDIDATES, -1), np.zeros(CANDIDATES)
    listed[: len(ids)], drafted[: len(ids)] = ids, shares
    return {
        "logits": np.broadcast_to(np.asarray(logits, np.float32), (rows, slots, vocab)),
        "temperature": np.full(rows, temperature, np.float32),
        "seed": np.full(rows, 77),
        "draw": np.arange(rows),
        "position": np.tile(np.arange(slots), (rows, 1)),
        "cut": np.full((rows, slots), cut, np.float32),
        "block": np.broadcast_to(np.asarray(draft), (rows, slots)),
        "valid": np.full(rows, slots),
        "drafted_ids": np.broadcast_to(listed, (rows, slots, CANDIDATES)),
        "drafted_shares": np.broadcast_to(drafted, (rows, slots, CANDIDATES)),
    }


def chosen(kernels, values, logit_type="fp32"):
    """What the slots that have a draft choose."""
    found = kernels.step(values, logit_type)
    assert found["finite"].all()
    return found["verified_tokens"][:, :-1]


@pytest.fixture
def logits():
    return np.random.default_rng(1).normal(scale=2.0, size=VOCAB).astype(np.float32)


@pytest.mark.parametrize("logit_type", DTYPES)
@pytest.mark.parametrize("temperature", [1e-6, 0.3, 1.0, 20.0, 1e30])
def test_random_drafts_follow_the_definition(kernels, temperature, logit_type) -> None:
    values = case(6, 40, 700, logit_type, temperature=temperature, seed=3)
    values["cut"][::2] = np.partition(values["logits"], -30, -1)[::2, :, -30]
    values["valid"][:] = [40, 40, 40, 40, 20, 1]
    assert reference.differences(kernels.step(values, logit_type), values, MASK) == []


def test_random_drafts_come_in_every_kind() -> None:
    """The test above would be weak if its drafts were all alike."""
    values = case(6, 40, 700, temperature=1.0, seed=3)
    draft, listed = values["block"][:, 1:, None], values["drafted_ids"][:, 1:]
    held = (draft == listed).any(-1)
    kept = np.isneginf(reference.scores(values, MASK)).sum(-1)[:, :-1] == 699
    kinds = {"empty": listed[..., 0] < 0, "not held": ~held & (listed[..., 0] >= 0), "kept": kept, "held": held}
    assert all(found.sum() >= 5 for found in kinds.values())
    assert (held & ~kept).sum() >= 5


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_emitted_tokens_are_distributed_as_the_model_asks(kernels, temperature) -> None:
    target, tokens, drafts = emitted(kernels, temperature)
    assert (tokens == drafts).mean() > 0.05
    assert (tokens != drafts).mean() > 0.05
    assert chi_square(tokens, target) < CHI_SQUARE_LIMIT


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_that_test_sees_a_wrong_rule(kernels, temperature) -> None:
    """Replacing what is rejected by a token of the model instead of what is left of it, or keeping every draft."""
    target, tokens, drafts = emitted(kernels, temperature)
    fresh = np.random.default_rng(5).choice(SUPPORT, tokens.shape, p=target)
    assert chi_square(np.where(tokens == drafts, drafts, fresh), target) > 3 * CHI_SQUARE_LIMIT
    assert chi_square(drafts, target) > 3 * CHI_SQUARE_LIMIT


def emitted(kernels, temperature):
    """(distribution, what came out, what was drafted) of more than 20,000 draws."""
    rng = np.random.default_rng(11)
    logits = np.full(VOCAB, -1e9, np.float32)
    logits[:SUPPORT] = rng.normal(scale=1.2, size=SUPPORT)
    shares = rng.dirichlet(np.full(CANDIDATES, 0.8)).astype(np.float32)
    ids = rng.choice(SUPPORT, CANDIDATES, replace=False)
    tokens, drafts = [], []
    for launch in range(6):
        draft = rng.choice(ids, (ROWS, SLOTS), p=shares / np.float64(shares.sum()))
        values = one_slot(logits, ids, shares, draft, temperature=temperature)
        values["draw"] = values["draw"] + 1000 * launch
        tokens.append(chosen(kernels, values))
        drafts.append(draft[:, 1:])
    assert np.size(tokens) >= 20_000
    return softmax(logits, temperature)[:SUPPORT], np.array(tokens), np.array(drafts)


def chi_square(tokens, target):
    expected = target * tokens.size
    return float((np.square(np.bincount(tokens.reshape(-1), minlength=SUPPORT) - expected) / expected).sum())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_draft_from_the_model_itself_is_always_kept(kernels, logits, temperature) -> None:
    logits[MASK] = -np.inf
    share = softmax(logits, temperature).astype(np.float32)
    ids = np.argsort(-share)[:CANDIDATES]
    for draft in ids:
        tokens = chosen(kernels, one_slot(logits, ids, share[ids], draft, temperature=temperature))
        # Rounding may fail one of some million tests.
        assert (tokens == draft).mean() > 0.999


def test_rounding_leaves_no_slot_without_a_token(kernels, logits) -> None:
    """The draft took every allowed token a little more often than it should: nothing is left of any."""
    logits[MASK] = -np.inf
    ids = np.argsort(-logits)[:CANDIDATES]
    share = softmax(logits[ids], 1.0) * 1.2
    tokens = chosen(kernels, one_slot(logits, ids, share, ids[2], cut=logits[ids].min()))
    assert set(np.unique(tokens)) <= set(ids)
    assert (tokens != ids[2]).any()


def test_draft_that_the_list_gave_no_share_is_kept(kernels, logits) -> None:
    tokens = chosen(kernels, one_slot(logits, [3, 9], [0.0, 1.0], 3))
    assert (tokens == 3).all()


def test_draft_below_the_cut_is_never_kept(kernels, logits) -> None:
    tokens = chosen(kernels, one_slot(logits, [logits.argmin()], [1e-6], logits.argmin(), cut=np.median(logits)))
    assert (logits[tokens] >= np.median(logits)).all()


def test_mask_among_the_candidates_is_never_chosen(kernels, logits) -> None:
    logits[MASK] = 30.0
    for draft in (MASK, 5):
        assert (chosen(kernels, one_slot(logits, [MASK, 5], [0.5, 0.5], draft)) != MASK).all()


def test_rejected_draft_does_not_come_back(kernels, logits) -> None:
    """A draft taken more often than it should has nothing left: choosing it says that it was accepted."""
    share = softmax(np.delete(logits, MASK), 1.0).max()
    best = logits.argmax()
    tokens = chosen(kernels, one_slot(logits, [best], [1.0], best))
    np.testing.assert_allclose((tokens == best).mean(), share, atol=4 * np.sqrt(0.25 / tokens.size))


@pytest.mark.parametrize("cut_at", [3, 8, 40])
def test_ties_at_the_cut_all_stay(kernels, cut_at) -> None:
    """Candidates and other tokens that equal the cut are allowed."""
    logits = np.full(VOCAB, -3.0, np.float32)
    logits[:cut_at], logits[200] = 1.0, 1.5
    for draft in (99, 0):  # not among the candidates, and among them
        tokens = chosen(kernels, one_slot(logits, [0, 1], [0.6, 0.001], draft, cut=1.0))
        assert set(np.unique(tokens)) == {*range(cut_at), 200}


@pytest.mark.parametrize("logit_type", DTYPES)
def test_candidates_change_nothing_without_a_draft_among_them(kernels, logit_type) -> None:
    """Candidates are settled elsewhere than the other tokens: the choice is the same bit for bit."""
    values = case(3, 20, 9001, logit_type, temperature=0.7)
    values["drafted_ids"][values["drafted_ids"] == values["block"][..., None]] = -1
    listed = kernels.step(values, logit_type)
    values["drafted_ids"] = np.full_like(values["drafted_ids"], -1)
    for name, found in kernels.step(values, logit_type).items():
        np.testing.assert_array_equal(listed[name], found, err_msg=name)


def test_slot_without_a_real_draft_is_sampled_afresh(kernels, logits) -> None:
    values = one_slot(logits, [1, 2], [0.5, 0.5], 1)
    values["valid"] = np.full(ROWS, 5)
    found = kernels.step(values)["verified_tokens"]
    afresh = kernels.step(values | {"drafted_ids": np.full_like(values["drafted_ids"], -1)})["verified_tokens"]
    np.testing.assert_array_equal(found[:, 4], afresh[:, 4])
    assert (found[:, :4] != afresh[:, :4]).any()


def test_greedy_rows_ignore_candidates_and_cut(kernels) -> None:
    values = case(2, 20, 3000)
    plain = kernels.step(values | {"drafted_ids": np.full_like(values["drafted_ids"], -1)})
    for name, found in kernels.step(values | {"cut": np.full((2, 20), 99.0)}).items():
        np.testing.assert_array_equal(found, plain[name], err_msg=name)


@pytest.mark.parametrize("temperature", [1e-38, 1e-20, 1e-4])
def test_least_temperatures_choose_the_best(kernels, logits, temperature) -> None:
    logits[MASK] = -np.inf
    best = logits.argmax()
    for draft in (best, (best + 1) % VOCAB):
        values = one_slot(logits, [best, (best + 1) % VOCAB], [0.5, 0.5], draft, temperature=temperature)
        assert (chosen(kernels, values) == best).all()


@pytest.mark.parametrize("temperature", [1e-38, 1e-6, 1e-3])
def test_least_temperatures_share_ties_evenly(kernels, temperature) -> None:
    """Their logits differ by nothing, however small the temperature that divides it."""
    logits = np.full(VOCAB, 10.0, np.float32)
    logits[[20, 30, 40]] = 30.0
    tokens = chosen(kernels, one_slot(logits, [20], [1.0], 99, temperature=temperature))
    share = np.array([(tokens == token).mean() for token in (20, 30, 40)])
    np.testing.assert_allclose(share, 1 / 3, atol=4 * np.sqrt(0.25 / tokens.size))


def test_highest_temperature_is_uniform(kernels, logits) -> None:
    tokens = chosen(kernels, one_slot(logits, [1, 2, 3], [0.2, 0.2, 0.6], 200, temperature=1e38))
    share = np.bincount(tokens.reshape(-1), minlength=VOCAB) / tokens.size
    assert share[MASK] == 0
    assert share.max() < 4 / VOCAB

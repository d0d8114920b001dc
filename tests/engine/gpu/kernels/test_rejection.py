# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Rejection sampling: a draft token that came from a list of candidates is kept as often as it should be."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from nld_trt.graph.step.tensors import CANDIDATES
from nld_trt.measure.kernels import reference
from nld_trt.measure.kernels.cases import DTYPES, MASK, case
from tests.chi_square import chi_square
from tests.engine.gpu.kernels.oracle import assert_same, onnx_step

ROWS, SLOTS, VOCAB = 64, 64, 256
# Tokens that can come out, more than a list holds.
SUPPORT = 24


def listed(ids, probabilities):
    """(ids, probabilities) [CANDIDATES], with -1 after the last."""
    found = np.full(CANDIDATES, -1), np.zeros(CANDIDATES, np.float32)
    found[0][: len(ids)], found[1][: len(ids)] = ids, probabilities
    return found


def one_slot(logits, ids, probabilities, draft, *, temperature=1.0, cut=-np.inf, rows=ROWS, **values):
    """Rows in which every slot but the last predicts the same, and is followed by a draft token from one list."""
    found = listed(ids, probabilities)
    return {
        "logits": np.broadcast_to(np.asarray(logits, np.float32), (rows, SLOTS, len(logits))),
        "temperature": np.full(rows, temperature, np.float32),
        "seed": np.full(rows, 77),
        "stream": np.zeros(rows, int),
        "sample": np.arange(rows),
        "position": np.tile(np.arange(SLOTS), (rows, 1)),
        "cut": np.full((rows, SLOTS), cut, np.float32),
        "block": np.broadcast_to(np.asarray(draft), (rows, SLOTS)),
        "valid": np.full(rows, SLOTS),
        "drafted_ids": np.broadcast_to(found[0], (rows, SLOTS, CANDIDATES)),
        "drafted_probabilities": np.broadcast_to(found[1], (rows, SLOTS, CANDIDATES)),
        **values,
    }


def chosen(kernels, values, logit_type="fp32"):
    """What the slots that have a draft choose."""
    found = kernels.step(values, logit_type)
    assert found["finite"].all()
    return found["verified_tokens"][:, :-1]


@pytest.fixture
def logits():
    return np.random.default_rng(1).normal(scale=2.0, size=VOCAB).astype(np.float32)


def random_drafts(logit_type, temperature, vocab=700):
    values = case(6, 40, vocab, logit_type, temperature=temperature, seed=3)
    values["valid"][:] = [40, 40, 40, 40, 20, 1]
    return values


@pytest.mark.parametrize("logit_type", DTYPES)
@pytest.mark.parametrize("temperature", [1e-6, 0.3, 1.0, 20.0, 1e30])
@pytest.mark.parametrize("vocab", [700, 20001])
def test_random_drafts_follow_the_definition(kernels, temperature, logit_type, vocab) -> None:
    values = random_drafts(logit_type, temperature, vocab)
    values["cut"][::2] = np.partition(values["logits"], -30, -1)[::2, :, -30]
    assert reference.differences(kernels.step(values, logit_type), values, MASK) == []


@pytest.mark.parametrize("logit_type", DTYPES)
@pytest.mark.parametrize("temperature", [0.3, 1.0, 20.0])
@pytest.mark.parametrize("filters", [{}, {"top_k": 30}], ids=str)
def test_random_drafts_are_what_the_onnx_functions_say(kernels, temperature, logit_type, filters) -> None:
    values = random_drafts(logit_type, temperature)
    expected = onnx_step(values, **filters)
    values["cut"] = expected["cut"]
    assert_same(kernels.step(values, logit_type), expected, values)


def test_random_drafts_come_in_every_kind() -> None:
    """The tests above would be weak if their drafts were all alike."""
    values = random_drafts("fp32", 1.0)
    pools = [reference.pool(values, row, slot, MASK) for row, slot in product(range(4), range(39))]
    held = [pool for pool in pools if pool.drafted is not None]
    ids = values["drafted_ids"][:4, 1:]
    kinds = {
        "empty": (ids[..., 0] < 0).sum(),
        "not held": (ids[..., 0] >= 0).sum() - len(held),
        "accepted": sum(pool.margin > 0 for pool in held),
        "rejected": sum(pool.margin <= 0 for pool in held),
    }
    assert all(count >= 5 for count in kinds.values()), kinds


def test_every_token_is_the_one_that_the_definition_gives(kernels) -> None:
    rng = np.random.default_rng(12)
    logits = rng.normal(scale=2.5, size=VOCAB).astype(np.float32)
    draft = reference.draft_distribution(logits + rng.normal(scale=0.7, size=VOCAB), MASK, temperature=0.7)
    ids = np.flatnonzero(draft)
    block = rng.choice(VOCAB, (8, SLOTS), p=draft)
    tokens = chosen(kernels, one_slot(logits, ids, draft[ids], block, temperature=np.float32(0.7), rows=8))
    for row, slot in product(range(8), range(SLOTS - 1)):
        expected = reference.sample(
            logits, MASK, drafted=block[row, slot + 1], taken=draft.astype(np.float32), temperature=np.float32(0.7),
            seed=77, position=slot, sample=row,
        )  # fmt: skip
        assert tokens[row, slot] == expected, (row, slot)
    assert 0.3 < (tokens == block[:, 1:]).mean() < 0.95


def speculate(kernels, temperature, rule):
    """(counts of what comes out, their distribution, share of accepted drafts) of drafts and their verification."""
    rng = np.random.default_rng(3)
    target, draft = np.full((2, VOCAB), -1e9, np.float32)
    target[:SUPPORT] = rng.normal(scale=1.5, size=SUPPORT)
    draft[:SUPPORT] = target[:SUPPORT] + rng.normal(scale=0.8, size=SUPPORT)
    probabilities = reference.draft_distribution(draft, MASK, temperature=temperature)
    ids = np.flatnonzero(probabilities)
    told = np.full(len(ids), 1 / len(ids)) if rule == "probabilities of another distribution" else probabilities[ids]
    tokens, drafts = [], []
    for seed in range(6):
        common = {"seed": np.full(ROWS, seed), "temperature": temperature}
        stream = np.full(ROWS, 0 if rule == "shared numbers" else 1)
        proposed = kernels.step(
            one_slot(draft, [], [], MASK, cut=draft[ids].min(), stream=stream, threshold=np.zeros(ROWS), **common)
        )["block_tokens"]
        # Slot j predicts the position of the token that stands in slot j + 1.
        block = np.concatenate([np.zeros((ROWS, 1), int), proposed[:, :-1]], 1)
        found = chosen(kernels, one_slot(target, ids, told, block, **common))
        if rule == "resampling from p":
            other = common | {"seed": np.full(ROWS, seed + 1000)}
            found = np.where(found == block[:, 1:], found, chosen(kernels, one_slot(target, [], [], MASK, **other)))
        tokens.append(block[:, 1:] if rule == "keeping every draft" else found)
        drafts.append(block[:, 1:])
    wanted = reference.distribution(target, MASK, temperature=temperature)
    counts = np.bincount(np.ravel(tokens), minlength=VOCAB)
    assert counts.sum() >= 20_000
    best = np.minimum(wanted, probabilities).sum()
    return counts, wanted, np.equal(tokens, drafts).mean(), best


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_emitted_tokens_are_distributed_as_the_model_asks(kernels, temperature) -> None:
    counts, wanted, accepted, best = speculate(kernels, temperature, "rejection")
    statistic, limit = chi_square(counts, wanted)
    assert statistic < limit
    assert accepted == pytest.approx(best, abs=0.015)


WRONG_RULES = {
    "resampling from p": (0.4, 1.0, 3.0),
    "keeping every draft": (0.4, 1.0, 3.0),
    "probabilities of another distribution": (0.4, 1.0, 3.0),
    # At 0.4 nearly all that is left is one token, and which number draws it makes no difference.
    "shared numbers": (1.0, 3.0),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "temperature"), [(rule, each) for rule, temperatures in WRONG_RULES.items() for each in temperatures]
)
def test_a_wrong_rule_changes_the_distribution(kernels, rule, temperature) -> None:
    counts, wanted, *_ = speculate(kernels, temperature, rule)
    statistic, limit = chi_square(counts, wanted)
    assert statistic > limit


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_draft_from_the_model_itself_is_always_kept(kernels, logits, temperature) -> None:
    share = reference.distribution(logits, MASK, temperature=temperature).astype(np.float32)
    ids = np.argsort(-share)[:CANDIDATES]
    for draft in ids[[0, 1, 2, -1]]:
        tokens = chosen(kernels, one_slot(logits, ids, share[ids], draft, temperature=temperature))
        # Rounding may fail one of some million tests.
        assert (tokens == draft).mean() > 0.999


def test_draft_stays_where_nothing_else_is_left(kernels, logits) -> None:
    """It took every allowed token a little more often than it should: nothing is left of any."""
    logits[MASK] = -np.inf
    ids = np.argsort(-logits)[:CANDIDATES]
    share = np.exp(logits[ids] - logits[ids].max())
    share *= 1.2 / share.sum()
    tokens = chosen(kernels, one_slot(logits, ids, share, ids[2], cut=logits[ids].min()))
    assert (tokens == ids[2]).all()


def test_what_is_left_may_be_a_single_token(kernels, logits) -> None:
    """All that was rejected becomes the one token that the draft did not know."""
    ids = np.flatnonzero(np.arange(VOCAB) != MASK)[: CANDIDATES + 1]
    logits[:] = -np.inf
    logits[ids] = 0.0
    share = np.full(CANDIDATES, 1 / CANDIDATES)
    tokens = chosen(kernels, one_slot(logits, ids[:-1], share, ids[2]))
    assert set(np.unique(tokens)) == {ids[2], ids[-1]}
    np.testing.assert_allclose((tokens == ids[2]).mean(), CANDIDATES / (CANDIDATES + 1), atol=0.03)


def test_list_without_a_share_of_the_draft_is_none(kernels, logits) -> None:
    values = one_slot(logits, [3, 9], [0.0, 1.0], 3)
    fresh = values | {"drafted_ids": np.full_like(values["drafted_ids"], -1)}
    np.testing.assert_array_equal(chosen(kernels, values), chosen(kernels, fresh))


def test_draft_below_the_cut_is_never_kept(kernels, logits) -> None:
    tokens = chosen(kernels, one_slot(logits, [logits.argmin()], [1e-6], logits.argmin(), cut=np.median(logits)))
    assert (logits[tokens] >= np.median(logits)).all()


def test_mask_among_the_candidates_is_never_chosen(kernels, logits) -> None:
    logits[MASK] = 30.0
    for draft in (MASK, 5):
        assert (chosen(kernels, one_slot(logits, [MASK, 5], [0.5, 0.5], draft)) != MASK).all()


def test_rejected_draft_does_not_come_back(kernels, logits) -> None:
    """A draft taken more often than it should has nothing left: choosing it says that it was accepted."""
    best = np.delete(logits, MASK).max()
    best = int(np.flatnonzero(logits == best)[0])
    share = reference.distribution(logits, MASK, temperature=1.0)[best]
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
    values = case(3, 20, 9001, logit_type, temperature=0.7)
    values["drafted_ids"][values["drafted_ids"] == values["block"][..., None]] = -1
    with_list = kernels.step(values, logit_type)
    values["drafted_ids"] = np.full_like(values["drafted_ids"], -1)
    for name, found in kernels.step(values, logit_type).items():
        np.testing.assert_array_equal(with_list[name], found, err_msg=name)


def test_slot_without_a_real_draft_is_sampled_afresh(kernels, logits) -> None:
    values = one_slot(logits, [1, 2], [0.5, 0.5], 1)
    values["valid"] = np.full(ROWS, 5)
    found = kernels.step(values)["verified_tokens"]
    afresh = kernels.step(values | {"drafted_ids": np.full_like(values["drafted_ids"], -1)})["verified_tokens"]
    np.testing.assert_array_equal(found[:, 4], afresh[:, 4])
    assert (found[:, :4] != afresh[:, :4]).any()


@pytest.mark.parametrize("temperature", [1e-38, 1e-20, 1e-4])
def test_least_temperatures_choose_the_best(kernels, logits, temperature) -> None:
    logits[MASK] = -np.inf
    best = logits.argmax()
    for draft in (best, (best + 1) % VOCAB):
        values = one_slot(logits, [best, (best + 1) % VOCAB], [0.5, 0.5], draft, temperature=temperature)
        assert (chosen(kernels, values) == best).all()


def test_highest_temperature_is_uniform(kernels, logits) -> None:
    tokens = chosen(kernels, one_slot(logits, [1, 2, 3], [0.2, 0.2, 0.6], 200, temperature=1e38))
    share = np.bincount(tokens.reshape(-1), minlength=VOCAB) / tokens.size
    assert share[MASK] == 0
    assert share.max() < 4 / VOCAB

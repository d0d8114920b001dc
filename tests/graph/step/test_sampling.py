# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What the decode operators sample: against the definition in NumPy, and against exact probabilities."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from nld_trt.graph.step.tensors import CANDIDATES
from nld_trt.measure.kernels import reference
from tests.chi_square import chi_square
from tests.graph.functions import run_operators

MASK = 5
DIALECTS = ("onnxruntime", "tensorrt")
TEMPERATURES = (0.3, 0.7, 1.3)
FILTERS = ({}, {"top_k": 3}, {"top_p": 0.7}, {"min_p": 0.2}, {"top_k": 6, "top_p": 0.9, "min_p": 0.05})


def verified(logits, **values):
    return run_operators(MASK, logits, **values)["verified_tokens"]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_every_token_is_the_one_that_the_definition_gives(dialect, filters):
    """Rows with settings of their own, greedy ones among them, and logits with ties."""
    rng = np.random.default_rng(11)
    rows, width, vocab = 6, 9, 30
    logits = np.round(rng.normal(scale=2.0, size=(rows, width, vocab)), 1)
    seeds = rng.integers(0, 2**63, rows)
    turns = rng.integers(0, 40, rows)
    position = rng.integers(0, 100_000, (rows, 1)) + np.arange(width)
    temperatures = np.array([0.0, 0.2, 0.7, 1.0, 2.5, 0.0])
    tokens = verified(
        logits, dialect=dialect, temperature=temperatures, seed=seeds, sample=turns, position=position, **filters
    )
    for row, slot in product(range(rows), range(width)):
        expected = reference.sample(
            logits[row, slot].astype(np.float32), MASK, seed=int(seeds[row]), position=int(position[row, slot]),
            sample=int(turns[row]), temperature=temperatures[row], **filters,
        )  # fmt: skip
        assert tokens[row, slot] == expected, (row, slot)


@pytest.mark.parametrize("temperature", [1e-45, 1e-30, 1e-6])
def test_the_coldest_samples_are_greedy(temperature):
    logits = np.random.default_rng(4).normal(scale=5, size=(2, 7, 40))
    assert (verified(logits, temperature=temperature, seed=9) == verified(logits)).all()


def test_the_hottest_draw_is_uniform():
    tokens = verified(np.random.default_rng(4).normal(size=(1, 1, 12)).repeat(4000, axis=1), temperature=3e38, seed=9)
    shares = np.where(np.arange(12) == MASK, 0.0, 1 / 11)
    statistic, limit = chi_square(np.bincount(tokens.ravel(), minlength=12), shares)
    assert statistic < limit


def kept(dialect, logits, *, top_k=0, top_p=1.0, min_p=0.0):
    """Which tokens of [V] logits can be drawn at temperature 1, by the graph."""
    scores = np.asarray(logits, np.float32)
    # Operators that propose candidates want a vocabulary of more than those; and none of these is MASK.
    padded = np.concatenate([scores, np.full(12, -np.inf, np.float32)])
    found = run_operators(
        len(padded) - 1, padded[None, None], dialect=dialect, temperature=1.0, top_k=top_k, top_p=top_p, min_p=min_p
    )
    return scores >= found["cut"][0, 0]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("digits", [0, 1, 5])
def test_filters_keep_what_sorting_keeps(dialect, digits):
    """Few digits make ties, at the cut as well."""
    rng = np.random.default_rng(8)
    for _ in range(60):
        logits = np.round(rng.normal(scale=rng.choice([0.5, 3.0]), size=50), digits).astype(np.float32)
        filters = {
            "top_k": int(rng.choice([0, 1, 2, 7, 49, 50, 1000])),
            "top_p": float(rng.choice([1.0, rng.uniform(0.01, 0.999)])),
            "min_p": float(rng.choice([0.0, rng.uniform(0.001, 0.999)])),
        }
        expected = reference.kept(logits, -1, temperature=1.0, **filters)
        assert (kept(dialect, logits, **filters) == expected).all(), filters


@pytest.mark.parametrize("dialect", DIALECTS)
def test_all_that_tie_at_the_cut_stay(dialect):
    logits = [1.0, 3.0, 2.0, 2.0, 2.0, 0.0]
    assert kept(dialect, logits, top_k=2).tolist() == [False, True, True, True, True, False]
    assert kept(dialect, [0.0] * 4, top_p=0.3).all()
    assert kept(dialect, [0.0] * 4, top_k=1, min_p=0.9).all()


def test_top_p_sees_only_what_top_k_has_left():
    """Of shares 0.4, 0.3, 0.2 and 0.1 top_k 2 leaves 4/7 and 3/7: top_p 0.5 then needs one token and not two."""
    logits = np.log([0.4, 0.3, 0.2, 0.1])
    assert kept("onnxruntime", logits, top_p=0.5).sum() == 2
    assert kept("onnxruntime", logits, top_p=0.5, top_k=2).sum() == 1


@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_samples_have_the_exact_distribution(temperature, filters):
    logits = np.random.default_rng(1).normal(scale=1.5, size=24)
    tokens = verified(np.tile(logits, (40, 300, 1)), temperature=temperature, seed=np.arange(40), **filters)
    counts = np.bincount(tokens.ravel(), minlength=24)
    shares = reference.distribution(logits, MASK, temperature=temperature, **filters)
    statistic, limit = chi_square(counts, shares)
    assert statistic < limit
    assert counts[MASK] == 0


def test_the_next_position_and_the_next_draw_are_independent_of_this_one():
    """Pairs of samples from a fair distribution of 4 tokens are as frequent as the product says."""
    logits = np.zeros((50, 400, 12))
    logits[..., 4:] = -np.inf
    first = verified(logits, temperature=1.0, seed=np.arange(50))
    others = {
        "next position": np.roll(first, -1, axis=1)[:, :-1],
        "next sample": verified(logits, temperature=1.0, seed=np.arange(50), sample=1)[:, :-1],
        "next seed": np.roll(first, -1, axis=0)[:, :-1],
    }
    for name, second in others.items():
        pairs = np.bincount((4 * first[:, :-1] + second).ravel(), minlength=16)
        statistic, limit = chi_square(pairs, np.full(16, 1 / 16))
        assert statistic < limit, name


def test_the_first_committed_token_of_a_warm_block_has_the_exact_distribution():
    """Slot and token together. The confidence that ranks slots is not divided by T (docs/model.md, Diffusion)."""
    vocab, temperature, masks = 6, 0.8, 3
    logits = np.random.default_rng(6).normal(size=(masks + 1, vocab)).astype(np.float32)
    logits[:, MASK] = -1.0
    # Operators that propose candidates want a vocabulary of more than those.
    padded = np.pad(logits, ((0, 0), (0, 6)), constant_values=-np.inf)
    rows = 20_000
    block = np.tile([3, *[MASK] * masks], (rows, 1))
    tokens = run_operators(
        MASK, np.tile(padded, (rows, 1, 1)), block=block, threshold=2.0, quota=1,
        temperature=temperature, seed=np.arange(rows), sample=1,
    )["block_tokens"]  # fmt: skip
    changed = tokens != block
    assert (changed.sum(axis=1) == 1).all()
    slot = changed.argmax(axis=1)
    counts = np.bincount(slot * vocab + tokens[np.arange(rows), slot], minlength=(masks + 1) * vocab)

    shares = np.zeros((masks + 1, vocab))
    confidence = reference.probabilities(logits)
    drawn = [reference.distribution(row, MASK, temperature=temperature) for row in logits]
    for choice in product(range(vocab), repeat=masks):
        ranked = [confidence[index + 1, token] for index, token in enumerate(choice)]
        best = int(np.argmax(ranked))
        shares[best + 1, choice[best]] += np.prod([drawn[index + 1][token] for index, token in enumerate(choice)])
    statistic, limit = chi_square(counts, shares.ravel())
    assert statistic < limit


def listed(shares):
    """Candidates [K] and their shares for a distribution [V] of at most K tokens."""
    ids = np.flatnonzero(shares)
    return np.pad(ids, (0, CANDIDATES - len(ids)), constant_values=-1), np.pad(shares[ids], (0, CANDIDATES - len(ids)))


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_candidates_are_the_most_likely_tokens_that_the_filters_keep(dialect, filters):
    rng = np.random.default_rng(5)
    logits = np.round(rng.normal(scale=2.0, size=(40, 2, 24)), 1).astype(np.float32)
    found = run_operators(MASK, logits, dialect=dialect, temperature=0.8, proposes=True, **filters)
    for row, slot in product(range(40), range(2)):
        shares = reference.draft_distribution(logits[row, slot], MASK, temperature=0.8, **filters)
        ids = found["candidate_ids"][row, slot]
        got = np.zeros(24)
        got[ids[ids >= 0]] = found["candidate_probabilities"][row, slot][ids >= 0]
        np.testing.assert_allclose(got, shares, rtol=1e-5, atol=1e-7)
        assert (logits[row, slot] >= found["cut"][row, slot]).sum() >= (ids >= 0).sum() > 0


def test_a_tie_of_too_many_candidates_leaves_none():
    found = run_operators(MASK, np.zeros((1, 1, 24)), temperature=1.0, proposes=True)
    assert (found["candidate_ids"] == -1).all()
    assert (found["candidate_probabilities"] == 0).all()


def test_rows_that_do_not_propose_have_no_candidates():
    logits = np.random.default_rng(5).normal(size=(3, 1, 24))
    found = run_operators(MASK, logits, temperature=[1.0, 1.0, 0.0], proposes=[True, False, True])
    assert (found["candidate_ids"].reshape(3, -1) >= 0).any(axis=1).tolist() == [True, False, False]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_drafted_token_is_kept_or_replaced_as_the_definition_says(dialect):
    rng = np.random.default_rng(12)
    rows, width, vocab = 60, 5, 700
    logits = rng.normal(scale=2.5, size=(rows, width, vocab)).astype(np.float32)
    block = np.zeros((rows, width), np.int64)
    ids, shares = np.full((rows, width, CANDIDATES), -1), np.zeros((rows, width, CANDIDATES))
    expected = np.zeros((rows, width), np.int64)
    settings = {"temperature": 0.7, "top_p": 0.95}
    for row, slot in product(range(rows), range(1, width)):
        draft = reference.draft_distribution(
            logits[row, slot - 1] + rng.normal(scale=0.7, size=vocab), MASK, temperature=0.7
        )
        ids[row, slot], shares[row, slot] = listed(draft)
        block[row, slot] = rng.choice(vocab, p=draft)
        expected[row, slot - 1] = reference.sample(
            logits[row, slot - 1], MASK, drafted=block[row, slot], taken=draft, seed=row, position=slot - 1, **settings
        )
    tokens = verified(
        logits,
        dialect=dialect,
        block=block,
        drafted_ids=ids,
        drafted_probabilities=shares,
        seed=np.arange(rows),
        **settings,
    )
    accepted = (tokens[:, :-1] == block[:, 1:]).mean()
    assert 0.3 < accepted < 0.95
    assert (tokens[:, :-1] == expected[:, :-1]).all()


def speculate(target, draft, temperature, rule, count=24_000):
    """Counts of the tokens that one slot emits, over seeds, and the share of accepted drafts."""
    vocab = len(target)
    seeds = np.arange(count)
    proposal = {"temperature": temperature, "seed": seeds, "position": 7}
    found = run_operators(
        MASK, np.tile(draft, (count, 1, 1)), block=MASK, threshold=0.0, proposes=True,
        stream=0 if rule == "shared numbers" else 1, **proposal,
    )  # fmt: skip
    block = np.stack([np.zeros(count, np.int64), found["block_tokens"][:, 0]], axis=1)
    lists = [
        np.concatenate([np.full_like(found[name], fill), found[name]], axis=1)
        for name, fill in (("candidate_ids", -1), ("candidate_probabilities", 0))
    ]
    if rule == "shares of another distribution":
        lists[1] = np.where(lists[0] >= 0, 1 / np.maximum((lists[0] >= 0).sum(-1, keepdims=True), 1), 0.0)
    logits = np.tile(target, (count, 2, 1))
    found = run_operators(
        MASK, logits, block=block, drafted_ids=lists[0], drafted_probabilities=lists[1], **proposal
    )  # fmt: skip
    tokens = found["verified_tokens"][:, 0]
    accepted = tokens == block[:, 1]
    if rule == "resampling from p":
        tokens = np.where(accepted, tokens, verified(logits[:, :1], **{**proposal, "seed": seeds + count})[:, 0])
    if rule == "keeping every draft":
        tokens = block[:, 1]
    return np.bincount(tokens, minlength=vocab), accepted.mean()


def apart(seed=3, vocab=24):
    rng = np.random.default_rng(seed)
    target = rng.normal(scale=1.5, size=vocab)
    return target, target + rng.normal(scale=0.8, size=vocab)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_rejection_sampling_leaves_the_distribution_as_it_is(temperature):
    target, draft = apart()
    counts, accepted = speculate(target, draft, temperature, "rejection")
    shares = reference.distribution(target, MASK, temperature=temperature)
    statistic, limit = chi_square(counts, shares)
    assert statistic < limit
    best = np.minimum(shares, reference.draft_distribution(draft, MASK, temperature=temperature)).sum()
    assert accepted == pytest.approx(best, abs=0.015)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_with_shared_numbers_a_draft_agrees_more_often_than_with_its_own(temperature):
    """What makes sample-and-match worth while where no token is certain."""
    target, draft = apart()
    given = {"temperature": temperature, "seed": np.arange(8000), "position": 7}
    expected = verified(np.tile(target, (8000, 1, 1)), **given)
    shared, own = (verified(np.tile(draft, (8000, 1, 1)), **given, stream=stream) for stream in (0, 1))
    assert (shared == expected).mean() > 1.1 * (own == expected).mean()


@pytest.mark.parametrize(
    "rule", ["shared numbers", "shares of another distribution", "resampling from p", "keeping every draft"]
)
def test_a_wrong_rule_changes_the_distribution(rule):
    target, draft = apart()
    counts, _ = speculate(target, draft, 0.7, rule)
    statistic, limit = chi_square(counts, reference.distribution(target, MASK, temperature=0.7))
    assert statistic > limit

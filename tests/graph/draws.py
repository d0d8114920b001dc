# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Sampling computed a second time, in NumPy and from its definition, and a chi-square test."""

from __future__ import annotations

import numpy as np

# For 1 in 10 million: with fixed seeds a test passes for good or not at all.
_NORMAL_QUANTILE = 5.2


def philox(counter, key):
    """Philox4x32-10 of uint64 arrays that hold 32-bit words."""
    c0, c1, c2, c3 = (np.uint64(word) for word in counter)
    k0, k1 = (np.uint64(word) for word in key)
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(10):
        first, second = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (second >> shift) ^ c1 ^ k0, second & low, (first >> shift) ^ c3 ^ k1, first & low
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
    return c0, c1, c2, c3


def uniforms(seed, position, draw=0, stream=0):
    """The two random numbers of a slot."""
    words = philox((stream, position, draw, 0), (seed & 0xFFFFFFFF, seed >> 32))
    return [float(((int(word) >> 9) + 0.5) * 2.0**-23) for word in words[:2]]


def kept(logits, mask, *, temperature, top_k=0, top_p=1.0, min_p=0.0):
    """Which tokens can be drawn, [V] bool, by sorting."""
    allowed = np.arange(len(logits)) != mask
    scores = np.where(allowed, np.asarray(logits, np.float64) / temperature, -np.inf)
    shares = np.exp(scores - scores.max())
    if top_k:
        allowed &= scores >= np.sort(scores)[-min(top_k, len(scores))]
    if top_p < 1:
        left = np.where(allowed, shares, 0.0)
        order = np.argsort(-left, kind="stable")
        reached = np.cumsum(left[order]) >= top_p * left.sum() * (1 - 1e-6)
        allowed &= scores >= scores[order[np.argmax(reached)]]
    if min_p > 0:
        allowed &= shares >= min_p * (1 - 1e-6)
    return allowed


def probabilities(logits, mask, **settings):
    """What a token is drawn with, [V] float64."""
    scores = np.asarray(logits, np.float64) / settings["temperature"]
    shares = np.where(kept(logits, mask, **settings), np.exp(scores - scores.max()), 0.0)
    return shares / shares.sum()


def invert(weights, uniform):
    """The first token whose cumulative weight goes beyond the share ``uniform`` of all."""
    running = np.cumsum(weights)
    return int(np.argmax(running > uniform * running[-1]))


def sample(logits, mask, *, seed, position, draw=0, stream=0, **settings):
    """The token that the definition gives; temperature 0 is the likeliest."""
    if not settings["temperature"]:
        return int(np.where(np.arange(len(logits)) == mask, -np.inf, logits).argmax())
    return invert(probabilities(logits, mask, **settings), uniforms(seed, position, draw, stream)[0])


def verify(logits, mask, drafted, shares, *, seed, position, draw=0, **settings):
    """The token of a slot behind which ``drafted`` stands, drawn from ``shares`` [V]."""
    wanted = probabilities(logits, mask, **settings)
    first, second = uniforms(seed, position, draw)
    if second * shares[drafted] < wanted[drafted]:
        return drafted
    return invert(np.maximum(wanted - shares, 0.0), first)


def candidates(logits, mask, *, count=8, **settings):
    """What a draft for rejection sampling is drawn from, [V]; all 0 where more than ``count`` tie for the first."""
    allowed = np.where(np.arange(len(logits)) == mask, -np.inf, np.asarray(logits, np.float64))
    ranked = np.sort(allowed)[::-1]
    inside = kept(logits, mask, **settings)
    if len(ranked) > count:
        inside &= allowed > ranked[count]
    weights = np.where(inside, np.exp((allowed - ranked[0]) / settings["temperature"]), 0.0)
    return weights / max(weights.sum(), 1e-300)


def chi_square(counts, shares):
    """(statistic, limit) of counts against their expected shares; what is expected less than 8 times is one class."""
    expected = shares * counts.sum()
    rare = expected < 8
    found = np.append(counts[~rare], counts[rare].sum())
    wanted = np.append(expected[~rare], expected[rare].sum())
    found, wanted = found[wanted > 0], wanted[wanted > 0]
    if found.sum() != counts.sum():
        # A token was drawn that has no probability.
        return np.inf, 0.0
    freedom = len(found) - 1
    # Wilson and Hilferty's approximation of the quantile.
    part = 2 / (9 * freedom)
    return ((found - wanted) ** 2 / wanted).sum(), freedom * (1 - part + _NORMAL_QUANTILE * part**0.5) ** 3

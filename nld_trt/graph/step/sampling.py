# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Sampling of a slot: a token from softmax(z / T) over the tokens that the filters leave.

The cumulative distribution is inverted in the order of token ids, with one random number per slot. That number is a
pure function of the request's seed, the absolute position of the token and the number of the sample: what shares a
batch, how a prompt was chunked and which mode asks has no influence.

Where the block holds a drafted token and the distribution that it was sampled from, this is speculative rejection
sampling (Leviathan, Kalman and Matias, "Fast inference from transformers via speculative decoding", ICML 2023,
section 2.3): the drafted token stays with probability min(1, p / q), and otherwise the slot gets a sample from
max(p - q, 0). Either way the slot's token is distributed as p. A rejected token has p < q and cannot be sampled again,
so the draft was accepted if and only if the slot's token is the drafted one.

Shapes: B rows, W window tokens, V vocabulary, N sampled slots, K candidates, G tokens per group, C groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nld_trt.graph.step.philox import uniforms
from nld_trt.graph.step.scores import COLDEST
from nld_trt.graph.step.slots import SampledSlots
from nld_trt.graph.step.tensors import CANDIDATES
from nld_trt.graph.tape import Dialect, Value, maximum, minimum, where

# Cumulative sums run over groups first and then inside one group: two short sums instead of one over the vocabulary.
_GROUP = 256
_LAST = -1


@dataclass(frozen=True)
class SamplingInputs:
    """Tensors of ``step.tensors`` that say how the slots are sampled."""

    block: Value
    valid: Value
    temperature: Value
    seed: Value
    stream: Value
    sample: Value
    position: Value
    cut: Value
    drafted_ids: Value
    drafted_probabilities: Value


@dataclass(frozen=True)
class Weights:
    """exp((z - max z) / T) of tokens that may be sampled, 0 of the others.

    Attributes:
        groups: [N, C, G] float32, padded with zeros.
        flat: [N, C * G] float32.
        total: [N, 1] float32.
    """

    groups: Value
    flat: Value
    total: Value


@dataclass(frozen=True)
class Draft:
    """The token after each slot, and the distribution that it was sampled from.

    Attributes:
        tokens: [N] int64.
        ids: [N, K] int64, the candidates, 0 where there is none.
        taken: [N, K] float32, the part of a candidate's weight that its probability in the draft covers; 0 where there
            is no candidate, or where the drafted token is not among them.
        accepted: [N] bool.
    """

    tokens: Value
    ids: Value
    taken: Value
    accepted: Value


def sample_tokens(
    slots: SampledSlots, inputs: SamplingInputs, scores: Value, vocab_size: int, dialect: Dialect
) -> Value:
    """Token ids [N] int64.

    Args:
        scores: [N, V] float32 logits, minus infinity where a token must not be chosen.
    """
    first, second = uniforms(
        dialect,
        seed=slots.rows(inputs.seed),
        stream=slots.rows(inputs.stream),
        position=slots.cells(inputs.position),
        sample=slots.rows(inputs.sample),
    )
    weights = _weights(slots, inputs, scores, vocab_size)
    draft = _draft(slots, inputs, weights, second)
    count = -(-vocab_size // _GROUP)
    sums = weights.groups.sum(_LAST) - _by_place(draft.ids // _GROUP, draft.taken, count)
    running = sums.cumsum(1)
    end = running.slice(count - 1, count, axis=1)
    target = first.column() * end

    below = running <= target
    # Rounding can leave no group whose sum exceeds the target where hardly anything is left to sample from.
    group = minimum(below.cast(np.int64).sum(_LAST, keepdims=True), count - 1)
    rest = target - where(below, sums, 0.0).sum(_LAST, keepdims=True)
    token = (group * _GROUP + _inside(weights, draft, group, rest)).squeeze(_LAST)
    # Rounding can also leave nothing of p where it is nearly q: then the drafted token was as good as accepted.
    kept = draft.accepted | (end <= 0.0).squeeze(_LAST)
    return where(kept, draft.tokens, token)


def _weights(slots: SampledSlots, inputs: SamplingInputs, scores: Value, vocab_size: int) -> Weights:
    kept = scores >= slots.cells(inputs.cut).column()
    best = scores.max(_LAST, keepdims=True)
    divisor = maximum(slots.rows(inputs.temperature).column(), COLDEST)
    # (z - max z) / T and not z / T, which would overflow and lose digits at low temperatures.
    flat = where(kept, ((scores - best) / divisor).exp(), 0.0)
    if missing := -vocab_size % _GROUP:
        flat = flat.pad(0, missing, 0.0, axis=1)
    return Weights(flat.reshape([0, -1, _GROUP]), flat, flat.sum(_LAST, keepdims=True))


def _draft(slots: SampledSlots, inputs: SamplingInputs, weights: Weights, uniform: Value) -> Draft:
    has_draft = slots.places + 1 < slots.rows(inputs.valid).cast(np.int64)
    tokens = slots.following_cells(inputs.block).cast(np.int64)
    ids = slots.following_lists(inputs.drafted_ids, CANDIDATES).cast(np.int64)
    probabilities = slots.following_lists(inputs.drafted_probabilities, CANDIDATES)
    real = ids >= 0
    is_token = real & ids.equals(tokens.column())
    probability = where(is_token, probabilities, 0.0).sum(_LAST, keepdims=True)
    listed = has_draft.column() & (probability > 0.0)

    places = maximum(ids, 0)
    weight = weights.flat.take_along(places, axis=1)
    covered = minimum(weight, probabilities * weights.total)
    taken = where(real & listed, covered, 0.0)

    own = where(is_token, weight, 0.0).sum(_LAST, keepdims=True)
    needed = uniform.column() * probability * weights.total
    return Draft(tokens, places, taken, (listed & (needed < own)).squeeze(_LAST))


def _inside(weights: Weights, draft: Draft, group: Value, rest: Value) -> Value:
    """Which token of a group [N, 1] makes its cumulative weight exceed ``rest`` [N, 1]: [N, 1] int64."""
    tape = group.tape
    chosen = tape.op("GatherND", weights.groups, group, batch_dims=1)
    chosen = chosen - _by_place(draft.ids - group * _GROUP, draft.taken, _GROUP)
    running = chosen.cumsum(1)
    offsets = tape.constant(np.arange(_GROUP), np.int64)
    possible = chosen > 0.0
    hit = where(possible & (running > rest), offsets, _GROUP).min(_LAST, keepdims=True)
    # Where rounding leaves none, the last that can be sampled.
    highest = where(possible, offsets, 0).max(_LAST, keepdims=True)
    return where(hit < _GROUP, hit, highest)


def _by_place(places: Value, amounts: Value, count: int) -> Value:
    """Amounts [N, K] added up by their places [N, K]: [N, count]."""
    here = places.unsqueeze(1).equals(np.arange(count)[:, None])
    return where(here, amounts.unsqueeze(1), 0.0).sum(_LAST)

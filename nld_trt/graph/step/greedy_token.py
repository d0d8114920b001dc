# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The end of a forward in which every row decodes one token greedily, with nothing that only other passes need.

Of such a forward the decode operators compute much that is known beforehand: a window of one slot has no draft to
verify, no mask to fill, no candidates and no probability that anyone reads. Where the runtime has branches, these few
operators take their place. They give the values that the operators give, which tests compare.

Shapes: B rows, V vocabulary, K candidates.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nld_trt import names
from nld_trt.graph.step.advance import ADVANCE
from nld_trt.graph.step.candidates import DRAFT_CANDIDATES
from nld_trt.graph.step.choose import CHOOSE_TOKENS
from nld_trt.graph.step.denoise import BLOCK_DENOISE
from nld_trt.graph.step.tensors import CANDIDATES, PROGRAMS
from nld_trt.graph.step.verify import SPEC_VERIFY
from nld_trt.graph.tape import Value, where

# What the decode operators make of a forward, in the order in which they make it.
RESULTS = (
    *DRAFT_CANDIDATES.outputs[1:],
    CHOOSE_TOKENS.outputs[-1],
    *BLOCK_DENOISE.outputs,
    *SPEC_VERIFY.outputs,
    *ADVANCE.outputs,
)

# Logits among which the largest is found at a time.
_GROUP = 128
_LARGEST = float(np.finfo(np.float32).max)


def is_one_token(tokens: Value) -> Value:
    """[1] bool: the forward has one new token in each row. ``tokens`` is [B, S]."""
    return tokens.shape(1, 2).equals(1)


def are_greedy_tokens(inputs: Mapping[str, Value], mask_token_id: int) -> Value:
    """[1] bool: each row has one new token and chooses the most likely one after it, by no mode's rule but AR's.

    ``inputs`` are those of the step contract.
    """
    others = (inputs["temperature"] > 0.0) | (inputs["program"] > PROGRAMS.index(names.TOKEN)) | ~inputs["causal"]
    others = others.column() | inputs["tokens"].equals(mask_token_id)
    return is_one_token(inputs["tokens"]) & ~others.any()


def choose_greedily(logits: Value, mask_token_id: int, vocab_size: int) -> list[Value]:
    """The most likely token of each row [B, 1] int64, and a scalar bool: the rows may choose these.

    They may if all logits are finite and no row chooses MASK; else the decode operators find out what holds. A sum of
    numbers is finite only if all of them are.

    Args:
        logits: [B, 1, V].
    """
    scores = logits.cast(np.float32)
    choice = _most_likely(scores, vocab_size)
    chooses_mask = choice.equals(mask_token_id).cast(np.int32).max()
    return [choice, (scores.sum().abs() < _LARGEST) & chooses_mask.equals(0)]


def _most_likely(scores: Value, vocab_size: int) -> Value:
    """[B, 1] int64; the lowest id wins a tie. ``scores`` is [B, 1, V].

    ONNX Runtime finds the largest value three times faster than its place. So the place is looked for among the
    largest values of groups, and then in one group.
    """
    if vocab_size % _GROUP:
        return scores.argmax()
    groups = scores.reshape([0, -1, _GROUP])
    group = groups.max(-1).argmax(keepdims=True)
    members = scores.tape.op("GatherND", groups, group, batch_dims=1)
    return group * _GROUP + members.argmax(keepdims=True)


def greedy_results(inputs: Mapping[str, Value], best: Value) -> list[Value]:
    """The values of :data:`RESULTS` where :func:`are_greedy_tokens` holds and logits are finite.

    Args:
        best: [B, 1] int64.
    """
    tape, block = best.tape, inputs["tokens"]
    rows, cells = best.shape(0, 1), best.shape()
    choice = best.cast(np.int32)
    ends = choice.equals(inputs["eos_token_id"]).cast(np.int32).max(1)
    left, sample = inputs["tokens_left"], inputs["sample"]
    is_active = inputs["program"] > PROGRAMS.index(names.HOLD)
    continues = is_active & (left > 1) & ends.equals(0)

    def filled(value: float, dtype: type[np.generic], shape: Value) -> Value:
        return tape.op("Expand", tape.constant([value], dtype), shape)

    lists = tape.op("Concat", cells, tape.constant([CANDIDATES], np.int64), axis=0)
    one = filled(1, np.int32, rows)
    made = {
        "candidate_ids": filled(-1, np.int32, lists),
        "candidate_probabilities": filled(0, np.float32, lists),
        "finite": one,
        "block_tokens": block,
        "confidence": filled(-1, np.float32, cells),
        "masks_left": one - 1,
        "verified_tokens": choice,
        "accepted_count": one,
        "bonus_token": choice.squeeze(1),
        "eos_position": one - ends,
        "next_tokens": where(continues.column(), choice, block),
        "next_cache_length": inputs["cache_length"] + continues.cast(np.int32),
        "next_causal": inputs["causal"],
        "next_sample": where(continues, 0, sample),
        "next_tokens_left": where(continues, left - 1, where(is_active, 0, left)),
    }
    return [made[name] for name in RESULTS]

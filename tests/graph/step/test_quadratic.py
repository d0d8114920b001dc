# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A quadratic pass is the ordinary passes that it stands for, side by side; and its verifier can be an ensemble."""

from __future__ import annotations

import numpy as np
import pytest

from nld_trt.graph.step.choose import CHOOSE_TOKENS_BY_ENSEMBLE
from nld_trt.graph.step.decode_step import decode_functions
from nld_trt.measure.kernels import reference
from tests.graph.functions import run_operators
from tests.graph.passes import run_pass

PROMPT, DRAFTS = [1, 73, 20, 41, 99, 12, 7], [30, 31, 55, 60]
COUNT = len(DRAFTS)
TOLERANCE = 2e-5


def forward(session, tokens, **settings):
    """Debug outputs of one row's pass with all logits."""
    outputs = run_pass(session, tokens, **settings)
    return {name: array[0] for name, array in outputs.items() if array.ndim}


@pytest.fixture(scope="module", params=["tiny-a", "tiny-b"])
def session(request, debug_session):
    return debug_session(request.param)


def quadratic_pass(session, adapter):
    mask = session.info.config.mask_token_id
    forward(session, PROMPT, cache_length=0)
    tokens = DRAFTS + [mask] * COUNT**2
    return forward(session, tokens, cache_length=len(PROMPT), adapter=adapter, segments=COUNT)


@pytest.mark.parametrize("adapter", [False, True])
def test_drafts_are_verified_as_by_a_causal_pass(session, adapter):
    found = quadratic_pass(session, adapter)
    forward(session, PROMPT, cache_length=0)
    expected = forward(session, DRAFTS, cache_length=len(PROMPT))
    np.testing.assert_allclose(found["logits"][:COUNT], expected["logits"], atol=TOLERANCE)
    assert found["accepted_count"] == expected["accepted_count"]
    assert found["bonus_token"] == expected["bonus_token"]


@pytest.mark.parametrize("adapter", [False, True])
def test_masks_after_a_draft_predict_as_a_bidirectional_pass_there(session, adapter):
    """Behind draft i they see the drafts up to i and each other, as k masks would in a pass of their own."""
    found = quadratic_pass(session, adapter)["logits"][COUNT:].reshape(COUNT, COUNT, -1)
    masks = [session.info.config.mask_token_id] * COUNT
    for index in range(COUNT):
        length = len(PROMPT) + index + 1
        forward(session, PROMPT + DRAFTS[: index + 1], cache_length=0)
        expected = forward(session, masks, cache_length=length, causal=False, adapter=adapter)["logits"]
        np.testing.assert_allclose(found[index], expected, atol=TOLERANCE)


def test_kept_drafts_are_in_the_cache_where_they_belong(session):
    """After a quadratic pass, one more token sees what it sees after an ordinary one."""
    quadratic_pass(session, adapter=True)
    found = forward(session, [44], cache_length=len(PROMPT) + COUNT)
    forward(session, PROMPT + DRAFTS, cache_length=0)
    expected = forward(session, [44], cache_length=len(PROMPT) + COUNT)
    np.testing.assert_allclose(found["logits"], expected["logits"], atol=TOLERANCE)


def choices(logits, *, segments, ensemble, mask=5):
    found = run_operators(
        mask, logits, operators=(CHOOSE_TOKENS_BY_ENSEMBLE,), quadratic=True, segments=segments, ensemble=ensemble,
        cut=-np.inf,
    )  # fmt: skip
    return found["choice"]


def test_the_ensemble_weighs_both_predictions_of_a_position():
    rng = np.random.default_rng(8)
    count, vocab, mask = 3, 20, 5
    logits = rng.normal(scale=2.0, size=(4, count + count**2, vocab)).astype(np.float32)
    weights = np.array([1.0, 0.5, 0.0, 0.5])
    segments = np.array([count, count, count, 0])
    found = choices(logits, segments=segments, ensemble=weights)
    probabilities = reference.probabilities(logits)
    expected = probabilities.copy()
    for row, draft in np.ndindex(3, count):
        companion = probabilities[row, count + draft * count]
        expected[row, draft] = weights[row] * probabilities[row, draft] + (1 - weights[row]) * companion
    assert (found == reference.greedy(expected, mask)).all()
    # The rows differ, so the weights have been looked at.
    assert (found[1] != reference.greedy(logits[1], mask)).any()


def test_compiled_graphs_have_no_branches():
    """A plan with control flow is not sure to be capturable in a CUDA graph."""
    for quadratic in (False, True):
        made = decode_functions(5, 256, "tensorrt", quadratic=quadratic)
        assert not {node.op_type for function in made for node in function.node} & {"If", "Loop", "Scan"}

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A quadratic pass is the ordinary passes that it stands for, side by side; and its verifier can be an ensemble."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from onnx import helper

from nld_trt.graph.step import operators
from nld_trt.graph.step.candidates import CANDIDATES
from nld_trt.graph.tape import DOMAIN
from tests.graph.functions import INPUTS, PLAIN, open_nodes
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
    assert found["next_seed"] == expected["next_seed"]


@pytest.mark.parametrize("adapter", [False, True])
def test_masks_behind_a_draft_predict_as_a_bidirectional_pass_there(session, adapter):
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


@lru_cache
def ensemble_session(mask, vocab):
    inputs = {name: (dtype, list(axes)) for name, (dtype, axes) in INPUTS.items()}
    sizes = {"V": vocab, "K": CANDIDATES}
    names = (*operators.CHOOSE_INPUTS, *operators.ENSEMBLE_INPUTS)
    inputs |= {"segments": (np.int32, ["B"]), "ensemble": (np.float32, ["B"]), "cut": (np.float32, ["B", "W"])}
    declared = {name: (inputs[name][0], [sizes.get(axis, axis) for axis in inputs[name][1]]) for name in names}
    node = helper.make_node("ChooseTokens", names, operators.CHOOSE_OUTPUTS, domain=DOMAIN)
    outputs = {"choice": (np.int32, None), "probability": (np.float32, None), "finite": (np.int32, None)}
    return open_nodes(
        [node], declared, outputs, functions=operators.decode_functions(mask, vocab, "onnxruntime", quadratic=True)
    )


def choices(logits, *, segments, ensemble, mask=5, temperature=0.0):
    rows, width, vocab = logits.shape
    given = {**PLAIN, "segments": segments, "ensemble": ensemble, "temperature": temperature, "valid": width,
             "block": np.zeros((rows, width)), "position": np.zeros((rows, width)), "cut": -np.inf,
             "drawn_slots": np.arange(rows * width), "logits": logits}  # fmt: skip
    session = ensemble_session(mask, vocab)
    feeds = {}
    for value in session.get_inputs():
        shape = {"drawn_slots": (rows * width,)}.get(
            value.name, tuple({"B": rows, "W": width}.get(size, size) for size in value.shape)
        )
        dtype = {"tensor(int32)": np.int32, "tensor(int64)": np.int64, "tensor(float)": np.float32}[value.type]
        feeds[value.name] = np.ascontiguousarray(np.broadcast_to(np.asarray(given[value.name], dtype), shape))
    return session.run(None, feeds)[0]


def test_the_ensemble_weighs_both_predictions_of_a_position():
    rng = np.random.default_rng(8)
    count, vocab, mask = 3, 20, 5
    logits = rng.normal(scale=2.0, size=(4, count + count**2, vocab)).astype(np.float32)
    weights = np.array([1.0, 0.5, 0.0, 0.5])
    segments = np.array([count, count, count, 0])
    found = choices(logits, segments=segments, ensemble=weights)
    shares = np.exp(logits.astype(np.float64))
    shares /= shares.sum(-1, keepdims=True)
    expected = shares.copy()
    for row, draft in np.ndindex(3, count):
        companion = shares[row, count + draft * count]
        expected[row, draft] = weights[row] * shares[row, draft] + (1 - weights[row]) * companion
    expected[..., mask] = -1
    assert (found == expected.argmax(-1)).all()
    # The rows differ, so the weights have been looked at.
    assert (found[1] != np.where(np.arange(vocab) == mask, -np.inf, logits[1]).argmax(-1)).any()


def test_compiled_graphs_have_no_branches():
    """A plan with control flow is not sure to be capturable in a CUDA graph."""
    for quadratic in (False, True):
        made = operators.decode_functions(5, 256, "tensorrt", quadratic=quadratic)
        assert not {node.op_type for function in made for node in function.node} & {"If", "Loop", "Scan"}

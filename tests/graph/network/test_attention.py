# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The part of the caches that attention reads in a graph for a compiler, run by ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from nld_trt.engine.session import StepBuffers
from nld_trt.graph import contract
from tests.graph.passes import LIMITS, open_graph

IDS = [7, 9, 11, 13]
CACHED = 6


@pytest.fixture(scope="module", params=["tiny-a", "tiny-b"])
def session(golden, request, tmp_path_factory):
    return open_graph(golden(request.param), tmp_path_factory.mktemp("graph"), dialect="tensorrt")


def logits(session, attended, *, after=0.0):
    """Of a forward after some cached tokens; ``after`` fills the slots that are not attended."""
    config = session.info.config
    buffers = StepBuffers.allocate(session.info, 1, len(IDS), len(IDS), False, attended)
    buffers.inputs["tokens"][:] = IDS
    buffers.inputs["cache_length"][:] = CACHED
    buffers.inputs["valid_count"][:] = len(IDS)
    buffers.inputs["causal"][:] = True
    buffers.inputs["logit_rows"][:] = np.arange(len(IDS))
    random = np.random.default_rng(0)
    caches = {}
    for binding in contract.bindings("input"):
        for name in binding.names(config) if binding.per_layer else ():
            shape = 1, config.num_key_value_heads, LIMITS.capacity, config.head_dim
            caches[name] = random.standard_normal(shape).astype(np.float32)
            caches[name][:, :, attended:] = after
    return session._session.run(["logits"], {**buffers.inputs, **caches})[0]


@pytest.mark.parametrize("attended", [CACHED + len(IDS), 33])
def test_a_shorter_part_gives_the_same_logits(session, attended):
    np.testing.assert_allclose(logits(session, attended), logits(session, LIMITS.capacity), atol=1e-5)


def test_slots_after_the_part_are_not_read(session):
    attended = CACHED + len(IDS)
    np.testing.assert_array_equal(logits(session, attended, after=np.nan), logits(session, attended))


def test_a_part_that_ends_before_the_new_tokens_is_noticed(session):
    assert np.abs(logits(session, CACHED) - logits(session, LIMITS.capacity)).max() > 1e-3

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Buffers are used again: whoever fills them leaves nothing of an earlier pass in them."""

from __future__ import annotations

import numpy as np

from nld_trt.engine.session import StepBuffers
from nld_trt.measure.compare.forcing import ForcedPass, run_passes


def test_a_forced_pass_takes_nothing_from_what_the_buffers_held(debug_session):
    session = debug_session("tiny-a")
    session.reserve(1, 64)
    tokens = (1, 73, 20, 41)
    passes = [ForcedPass(tokens, 0, range(len(tokens)))]
    clean = StepBuffers.allocate(session.info, 1, len(tokens), len(tokens), False, session.capacity).inputs
    expected = {name: array.copy() for name, array in run_passes(session, passes).outputs.items()}
    held = session.step(1, len(tokens), len(tokens)).inputs
    for name in clean.keys() - {"sampled_slots", "attended_slots", "drafted_probabilities"}:
        # Not 1: a quadratic pass of one draft sees what a causal one sees.
        held[name][...] = 2
    found = run_passes(session, passes).outputs
    assert all(np.array_equal(found[name], array) for name, array in expected.items())

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``decode_kernels.cu`` itself, with its shuffles, barriers and shared memory, on threads of the system."""

from __future__ import annotations

import numpy as np
import pytest

from nld_trt.measure.kernels import reference
from nld_trt.measure.kernels.cases import DTYPES, MASK, case
from tests.engine.gpu.kernels.emulation import Threads


@pytest.fixture(scope="module")
def threads(threads_library) -> Threads:
    return Threads(threads_library, MASK)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize(
    ("sizes", "logit_type"),
    [((2, 3, 300), "fp32"), ((1, 2, 8195), "bf16"), ((1, 1, 16391), "fp16"), ((1, 40, 257), "bf16")],
)
def test_threads_compute_what_loops_do(threads, kernels, sizes, logit_type, temperature):
    """Bit for bit: every sum is in the same order. More slots than a block has warps or a warp lanes are among them."""
    values = case(*sizes, logit_type, temperature=temperature)
    found, expected = (each.step(values, logit_type) for each in (threads, kernels))
    assert reference.differences(found, values, MASK) == []
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


@pytest.mark.parametrize("logit_type", DTYPES)
def test_drafts_are_verified_by_threads_as_by_loops(threads, kernels, logit_type):
    values = case(1, 20, 300, logit_type, temperature=1.0, seed=3) | {"valid": np.full(1, 20)}
    kinds = [reference.pool(values, 0, slot, MASK) for slot in range(19)]
    assert {pool.margin > 0 for pool in kinds if pool.drafted is not None} == {True, False}
    found, expected = (each.step(values, logit_type) for each in (threads, kernels))
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)

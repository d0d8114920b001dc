# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Memory by hand, and that the largest settings that are said to fit are the largest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nld_trt import names
from nld_trt.model.releases import PRESETS
from nld_trt.planning.memory import Memory
from nld_trt.planning.platform import gpu_platform
from nld_trt.planning.release_shapes import of_geometry

SHAPES = {size: of_geometry(size, PRESETS[size]) for size in names.MODEL_SIZES}


def memory(platform=names.H100, size="8b", users=8, max_seq_len=4096, block_length=32, precision=names.BF16) -> Memory:
    shape = replace(SHAPES[size], precision=precision)
    return Memory.on(
        gpu_platform(platform), shape, users=users, max_seq_len=max_seq_len, block_length=block_length
    )  # fmt: skip


def test_parts_by_hand():
    found = memory().to_dict()
    assert found["caches"] == 8 * (4096 + 32) * 139264
    assert found["activations"] == 8 * 160_000_000
    assert found["weights"] == pytest.approx(17.05e9, rel=1e-3)
    assert found["total"] == pytest.approx(sum(found[part] for part in ("weights", "caches", "activations", "reserve")),
                                           abs=4)  # fmt: skip
    assert found["capacity"] == 80_000_000_000
    assert set(found["provenance"]) == {"weights", "caches", "activations", "reserve", "capacity"}


def test_four_bits_take_a_quarter_of_the_layers():
    layers = 34 * 218_103_808
    saved = memory().weights - memory(precision=names.INT4).weights
    assert saved == pytest.approx(layers * (16 - 4.125) / 8)


@settings(max_examples=60, deadline=None)
@given(
    platform=st.sampled_from(names.PLANNED_PLATFORMS), size=st.sampled_from(names.MODEL_SIZES),
    users=st.integers(1, 200), max_seq_len=st.integers(64, 100_000),
)  # fmt: skip
def test_the_largest_that_fits_fits_and_one_more_does_not(platform, size, users, max_seq_len):
    asked = memory(platform, size, users, max_seq_len)
    most = asked.most_users
    if most:
        assert replace(asked, users=most).missing <= 0
    assert replace(asked, users=most + 1).missing > 0
    longest = asked.longest
    if longest > 0:
        assert replace(asked, max_seq_len=longest).missing <= 0
        assert replace(asked, max_seq_len=longest + 1).missing > 0

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The number of cache slots that attention is given."""

from __future__ import annotations

import pytest

from nld_trt.engine.gpu.attended import AttendedLengths
from nld_trt.graph import contract
from nld_trt.graph.contract import Limits

LIMITS = Limits(max_batch_size=2, max_seq_len=8192, max_block_length=32, prompt_chunk=512, max_quadratic_length=8)
CUT = AttendedLengths(LIMITS, cuts=True)
WHOLE = AttendedLengths(LIMITS, cuts=False)


def test_lengths_are_few_and_end_with_the_capacity():
    assert CUT.all == (512, 1024, 2048, 4096, 8192, 8264)
    assert WHOLE.all == (LIMITS.capacity,)


@pytest.mark.parametrize("slots", [1, 512, 513, 3000, 8193, 8264])
def test_every_slot_in_use_is_attended_and_few_others(slots):
    length = CUT.holding(slots)
    assert slots <= length < max(2 * slots, 513)


@pytest.mark.parametrize(("width", "window"), [(1, 1), (32, 32), (512, 1), (72, 72)])
@pytest.mark.parametrize("slots", [1, 2048, 8264])
def test_the_phase_takes_the_width_and_the_length(width, window, slots):
    phase, length = CUT.phase_for(width, window, slots)
    ranges = contract.axis_ranges(LIMITS, phase)
    for axis, size in (("width", width), ("window", window), ("attended", length)):
        assert ranges[axis][0] <= size <= ranges[axis][2]


@pytest.mark.parametrize(("slots", "expected"), [(2048, ("block", 2048)), (2049, ("token", 8264))])
def test_one_token_reads_the_caches_in_place_where_that_is_less_than_a_copy(slots, expected):
    assert CUT.phase_for(1, 1, slots) == expected


def test_an_engine_that_does_not_pay_for_unused_slots_keeps_its_phases():
    assert WHOLE.phase_for(1, 1, 5) == ("token", LIMITS.capacity)
    assert WHOLE.phase_for(32, 32, 5) == ("block", LIMITS.capacity)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The binding table, the graph and the buffers are one thing."""

from __future__ import annotations

import pytest

from nld_trt.graph import contract
from nld_trt.graph.contract import Limits
from nld_trt.graph.export import load_graph, write_graph
from nld_trt.graph.precision import PRECISIONS

LIMITS = Limits(max_batch_size=4, max_seq_len=96, max_block_length=16, prompt_chunk=32)


def _names(values):
    return [value.name for value in values]


@pytest.mark.parametrize("debug", [False, True])
def test_graph_has_exactly_the_bindings_of_the_table(golden, tmp_path, debug):
    checkpoint = golden("tiny-a")
    path = write_graph(
        checkpoint,
        tmp_path,
        precision=PRECISIONS["fp32"],
        limits=LIMITS,
        adapter=True,
        static_capacity=False,
        debug=debug,
    )
    graph = load_graph(path).graph
    for direction, values in (("input", graph.input), ("output", graph.output)):
        expected = [name for b in contract.bindings(direction, debug=debug) for name in b.names(checkpoint.config)]
        assert _names(values) == expected


def test_every_phase_has_a_range_for_every_run_time_axis():
    run_time = {"batch", "width", "window", "capacity"}
    for phase in contract.PHASES:
        ranges = contract.axis_ranges(LIMITS, phase)
        assert set(ranges) == run_time
        assert all(1 <= low <= best <= high for low, best, high in ranges.values())


@pytest.mark.parametrize(
    ("width", "phase"), [(1, "token"), (2, "block"), (16, "block"), (17, "prompt"), (32, "prompt")]
)
def test_phase_is_the_narrowest_that_holds_the_width(width, phase):
    assert LIMITS.phase_for(width) == phase


def test_capacity_has_room_for_a_last_block_written_whole():
    assert LIMITS.capacity == LIMITS.max_seq_len + LIMITS.max_block_length


def test_debug_outputs_never_appear_in_a_serving_engine():
    assert {"logits", "final_hidden", "confidence"}.isdisjoint(b.name for b in contract.bindings("output"))

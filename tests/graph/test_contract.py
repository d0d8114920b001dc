# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The binding table, the graph and the buffers are one thing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nld_trt.graph import contract
from nld_trt.graph.contract import Limits
from nld_trt.graph.export import load_graph, write_graph
from nld_trt.graph.precision import PRECISIONS

LIMITS = Limits(max_batch_size=4, max_seq_len=96, max_block_length=16, prompt_chunk=32)
QUADRATIC = replace(LIMITS, max_quadratic_length=4)


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
    run_time = {"batch", "width", "window", "slots", "attended", "capacity"}
    for phase in QUADRATIC.phases:
        ranges = contract.axis_ranges(QUADRATIC, phase)
        assert set(ranges) == run_time
        assert all(1 <= low <= best <= high for low, best, high in ranges.values())


@pytest.mark.parametrize(
    ("limits", "width", "window", "phase"),
    [
        (LIMITS, 1, 1, "token"),
        (LIMITS, 2, 2, "block"),
        (LIMITS, 16, 16, "block"),
        (LIMITS, 17, 1, "prompt"),
        (LIMITS, 32, 16, "prompt"),
        (QUADRATIC, 32, 16, "prompt"),
        (QUADRATIC, 20, 20, "quadratic"),
        (QUADRATIC, 32, 20, "quadratic"),
    ],
)
def test_phase_is_the_narrowest_that_holds_width_and_window(limits, width, window, phase):
    assert limits.phase_for(width, window) == phase
    ranges = contract.axis_ranges(limits, phase)
    for axis, size in (("width", width), ("window", window)):
        assert ranges[axis][0] <= size <= ranges[axis][2]


def test_capacity_has_room_for_a_last_pass_written_whole():
    assert LIMITS.capacity == LIMITS.max_seq_len + LIMITS.max_block_length
    assert QUADRATIC.capacity == LIMITS.max_seq_len + 4 + 4 * 4


def test_carried_outputs_have_the_type_and_rows_of_their_inputs():
    by_name = {binding.name: binding for binding in contract.BINDINGS}
    assert len(contract.CARRIED) == len(set(contract.CARRIED.values())) == 7
    for source, target in contract.CARRIED.items():
        assert by_name[source].direction == "output"
        assert by_name[target].direction == "input"
        assert by_name[source].dtype == by_name[target].dtype
        # A pass that prepares the next one has logits for every new token.
        assert by_name[source].axes == tuple(axis.replace("width", "window") for axis in by_name[target].axes)


def test_debug_outputs_never_appear_in_a_serving_engine():
    assert {"logits", "final_hidden", "confidence"}.isdisjoint(b.name for b in contract.bindings("output"))

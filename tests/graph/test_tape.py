# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Expressions on recorded values compute what they say, and what cannot be recorded is refused."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from nld_trt.graph.tape import Tape, maximum, minimum, where
from tests.graph.functions import open_nodes

A = np.array([[1, -2, 7], [0, 5, -9]], np.int32)
B = np.array([[3, -2, 2], [1, 4, 4]], np.int32)

# Of two matrices of int32, and what NumPy makes of them.
EXPRESSIONS = {
    "arithmetic": (lambda a, b: (a + b * 2 - 1) % 5, lambda a, b: (a + b * 2 - 1) % 5),
    "number on the left": (lambda a, b: 3 - a, lambda a, b: 3 - a),
    "division rounds towards 0": (lambda a, b: a // b, lambda a, b: np.trunc(a / b).astype(np.int32)),
    "division of floats": (lambda a, b: a.cast(np.float32) / 2.0, lambda a, b: a / np.float32(2)),
    "comparisons": (
        lambda a, b: (a < b) & (a <= 5) | (a > b) & ~(b >= 3) | a.equals(b),
        lambda a, b: (a < b) & (a <= 5) | (a > b) & ~(b >= 3) | (a == b),
    ),
    "exclusive or of flags": (lambda a, b: (a > 0) ^ (b > 2), lambda a, b: (a > 0) ^ (b > 2)),
    "bits": (
        lambda a, b: (a.cast(np.uint64) & 6 | 1) ^ b.cast(np.uint64),
        lambda a, b: (a.astype(np.uint64) & np.uint64(6) | np.uint64(1)) ^ b.astype(np.uint64),
    ),
    "where": (lambda a, b: where(a > b, a, -1), lambda a, b: np.where(a > b, a, -1)),
    "where of a number first": (lambda a, b: where(a > b, 4, b), lambda a, b: np.where(a > b, 4, b)),
    "where of flags": (lambda a, b: where(a > b, a > 2, b > 2), lambda a, b: np.where(a > b, a > 2, b > 2)),
    "bounds": (lambda a, b: minimum(maximum(a, b), 4), lambda a, b: np.minimum(np.maximum(a, b), 4)),
    "sums": (lambda a, b: a.sum(1) + b.max(-1) - b.min(0, 1), lambda a, b: a.sum(1) + b.max(-1) - b.min()),
    "kept axis": (lambda a, b: a - a.max(-1, keepdims=True), lambda a, b: a - a.max(-1, keepdims=True)),
    "any": (lambda a, b: (a > b).any(), lambda a, b: (a > b).any()),
    "largest": (lambda a, b: a.argmax(), lambda a, b: a.argmax(-1)),
    "running sum": (lambda a, b: a.cumsum(1), lambda a, b: a.cumsum(1)),
    "slice": (lambda a, b: a.slice(1, 3, axis=1), lambda a, b: a[:, 1:3]),
    "pad": (lambda a, b: a.pad(1, 2, 8, axis=1), lambda a, b: np.pad(a, ((0, 0), (1, 2)), constant_values=8)),
    "take": (lambda a, b: a.take((2, 0), axis=1), lambda a, b: a.take((2, 0), axis=1)),
    "take along": (
        lambda a, b: a.take_along((b % 3), axis=1),
        lambda a, b: np.take_along_axis(a, b % 3, axis=1),
    ),
    "column": (lambda a, b: a.sum(1).column() + b, lambda a, b: a.sum(1)[:, None] + b),
    "sizes": (lambda a, b: a.tape.arange(a.size(1)) + b.size(0), lambda a, b: np.arange(3) + 2),
    "shape": (lambda a, b: a.transpose(1, 0).reshape(b.shape()), lambda a, b: a.T.reshape(b.shape)),
}


def computed(record):
    tape = Tape()
    result = record(tape, tape.named("a", A.dtype), tape.named("b", B.dtype))
    tape.op("Identity", result, name="result")
    matrix = (np.int32, [2, 3])
    session = open_nodes(
        tape.nodes, {"a": matrix, "b": matrix}, {"result": (result.dtype, None)}, initializers=tape.constants
    )
    (found,) = session.run(None, {name: array for name, array in (("a", A), ("b", B)) if name in inputs_of(session)})
    assert found.dtype == result.dtype
    return found


def inputs_of(session):
    return {each.name for each in session.get_inputs()}


@pytest.mark.parametrize(("record", "expected"), EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_expression_computes_what_numpy_does(record, expected):
    np.testing.assert_array_equal(computed(lambda tape, a, b: record(a, b)), expected(A, B))


@pytest.mark.parametrize(("largest", "expected"), [(7, A + B), (8, A - B)])
def test_branch_that_is_taken_gives_the_values(largest, expected):
    def record(tape, a, b):
        (result,) = tape.when((a >= largest).any(), lambda: [a + b], lambda: [a - b])
        return result

    np.testing.assert_array_equal(computed(record), expected)


def test_branches_record_nothing_outside():
    tape = Tape()
    a = tape.named("a", np.float32)
    tape.when((a > 0).any(), lambda: [a * 2.0], lambda: [a])
    assert [node.op_type for node in tape.nodes] == ["Greater", "Cast", "ReduceMax", "Cast", "If"]


def test_equal_constants_are_one():
    tape = Tape()
    x, y = tape.named("x", np.float32), tape.named("y", np.int32)
    results = [x + 1, x * 1.0, y + 1, y + np.array([1])]
    assert [value.dtype for value in results] == [np.float32, np.float32, np.int32, np.int32]
    found = [numpy_helper.to_array(each) for each in tape.constants]
    assert [(each.dtype, each.shape) for each in found] == [(np.float32, ()), (np.int32, ()), (np.int32, (1,))]


def test_value_has_no_truth_value():
    """`and`, `or`, `not` and `if` would otherwise decide while recording, and silently."""
    value = Tape().named("causal", np.bool_)
    with pytest.raises(TypeError, match="causal has no truth value while the graph is recorded"):
        _ = value and value


def test_value_of_any_type_is_cast_before_it_meets_a_number():
    logits = Tape().named("logits", None)
    with pytest.raises(TypeError, match="logits has no element type of its own: cast it"):
        _ = logits + 1.0
    assert (logits.cast(np.float32) + 1.0).dtype == np.float32


def test_where_of_two_numbers_is_refused():
    with pytest.raises(TypeError, match="of two numbers has no type"):
        where(Tape().named("causal", np.bool_), 1, 2)

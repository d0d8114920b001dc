# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The decode operators on PyTorch: the recorded nodes give what they give in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nld_trt.engine.torch.onnx_program import Program
from nld_trt.graph.step.advance import ADVANCE
from nld_trt.graph.step.choose import CHOOSE_TOKENS_BY_ENSEMBLE
from nld_trt.graph.step.decode_step import decode_functions
from nld_trt.graph.step.tensors import PROGRAMS
from nld_trt.graph.tape import Tape, where
from tests.graph.functions import STEP, open_operators, type_of

MASK, VOCAB, WIDTH = 5, 300, 6
CPU = torch.device("cpu")
# The programs of passes that may be quadratic, this one the last.
LAST = PROGRAMS.index("quadratic")
QUADRATIC = (STEP[0], CHOOSE_TOKENS_BY_ENSEMBLE, *STEP[2:], ADVANCE)


@pytest.fixture(scope="module", params=["onnxruntime", "tensorrt"])
def dialect(request):
    return request.param


@pytest.fixture(scope="module")
def programs(dialect):
    made = decode_functions(MASK, VOCAB, dialect, quadratic=True)
    return {function.name: Program.of_function(function, CPU) for function in made}


def forward(seed: int, rows: int, *, sampled: bool) -> dict[str, np.ndarray]:
    """Inputs of all decode operators for rows in any pass."""
    rng = np.random.default_rng(seed)
    # A quadratic pass over k = 2 drafts has k + k^2 = 6 new tokens, all of them real, and verifies the drafts.
    segments = np.where(rng.random(rows) < 0.3, 2, 0)
    valid = np.where(segments > 0, WIDTH, rng.integers(1, WIDTH + 1, rows))
    per_row = {
        "cache_length": rng.integers(1, 50, rows),
        "valid_count": valid,
        "causal": (rng.random(rows) < 0.5) | (segments > 0),
        "segments": segments,
        "program": np.where(segments > 0, LAST, rng.integers(0, LAST, rows)),
        "tokens_left": rng.integers(0, 9, rows),
        "temperature": np.where(rng.random(rows) < 0.5, rng.choice([0.2, 1.0], rows), 0) * sampled,
        "top_k": rng.choice([0, 1, 5, 20], rows),
        "top_p": rng.choice([1.0, 0.9, 0.3], rows),
        "min_p": rng.choice([0.0, 0.1], rows),
        "seed": rng.integers(0, 2**63, rows),
        "stream": rng.integers(0, 2, rows),
        "sample": rng.integers(0, 9, rows),
        "proposes": rng.random(rows) < 0.5,
        "threshold": rng.choice([0.0, 0.05, 2.0], rows),
        "quota": rng.integers(0, 3, rows),
        "ensemble": rng.choice([1.0, 0.5], rows),
    }
    drafted = rng.integers(0, VOCAB, (rows, WIDTH, 8))
    return {
        **per_row,
        "logits": np.float32(rng.normal(scale=rng.choice([0.5, 4.0]), size=(rows, WIDTH, VOCAB))),
        "sampled_slots": np.arange(rows * WIDTH),
        "block": np.where(rng.random((rows, WIDTH)) < 0.4, MASK, rng.integers(0, VOCAB, (rows, WIDTH))),
        "valid": valid,
        "verify_valid": np.where(segments > 0, segments, valid),
        "position": rng.integers(0, 100, (rows, WIDTH)),
        "eos_token_id": rng.integers(-1, VOCAB, (rows, 8)),
        "drafted_ids": np.where(rng.random((rows, WIDTH, 1)) < 0.5, drafted, -1),
        "drafted_probabilities": np.float32(rng.dirichlet(np.ones(8), (rows, WIDTH))),
    }


def run_programs(programs, inputs) -> dict[str, np.ndarray]:
    values = {name: torch.from_numpy(array.copy()) for name, array in inputs.items()}
    for operator in QUADRATIC:
        outputs = programs[operator.name].run({name: values[name] for name in operator.inputs})
        values |= dict(zip(operator.outputs, outputs, strict=True))
    return {name: values[name].numpy() for operator in QUADRATIC for name in operator.outputs}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 3), sampled=st.booleans())
def test_decode_operators_give_what_onnx_runtime_gives(dialect, programs, seed, rows, sampled):
    session = open_operators(MASK, VOCAB, dialect, operators=QUADRATIC, quadratic=True)
    given_values = forward(seed, rows, sampled=sampled)
    feeds = {
        each.name: np.ascontiguousarray(given_values[each.name].astype(type_of(each.name)))
        for each in session.get_inputs()
    }
    expected = dict(zip((each.name for each in session.get_outputs()), session.run(None, feeds), strict=True))
    found = run_programs(programs, feeds)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        if array.dtype == np.float32:
            np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-7, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_a_second_run_with_the_same_shapes_reads_other_values():
    tape = Tape()
    x = tape.named("x", np.int64)
    doubled = where(tape.arange(x.size(0)) < 2, x * 2, x)
    program = Program.of_tape(tape, [doubled.name], CPU)
    for values in ([1, 2, 3], [4, 5, 6]):
        (found,) = program.run({"x": torch.tensor(values)})
        assert found.tolist() == [2 * values[0], 2 * values[1], values[2]]


def test_other_shapes_are_computed_anew():
    tape = Tape()
    x = tape.named("x", np.int64)
    program = Program.of_tape(tape, [(tape.arange(x.size(0)) + x).name], CPU)
    assert [program.run({"x": torch.zeros(size, dtype=torch.int64)})[0].tolist() for size in (2, 3)] == [
        [0, 1],
        [0, 1, 2],
    ]


def test_nodes_that_no_output_needs_are_not_computed():
    tape = Tape()
    x = tape.named("x", np.int64)
    wanted = x + 1
    tape.op("Head", x, domain="nld")
    (found,) = Program.of_tape(tape, [wanted.name], CPU).run({"x": torch.tensor([1])})
    assert found.tolist() == [2]

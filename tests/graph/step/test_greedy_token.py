# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The short end of greedy one-token forwards against the decode operators, of which it is a special case."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from nld_trt.graph.step.advance import ADVANCE
from nld_trt.graph.step.decode_step import decode_functions
from nld_trt.graph.step.greedy_token import RESULTS, are_greedy_tokens, choose_greedily, greedy_results
from nld_trt.graph.step.tensors import TENSORS
from nld_trt.graph.tape import DOMAIN, Tape
from tests.graph.functions import STEP, axes_of, open_nodes, run_operators, type_of

MASK, VOCAB = 5, 12
# One that is not looked at in groups, and one that is.
VOCABS = (VOCAB, 256)
HOLD, TOKEN, DIFFUSION = 0, 1, 2
READ = ("temperature", "program", "causal", "cache_length", "sample", "tokens_left", "eos_token_id")


@cache
def short_end(vocab=VOCAB):
    """A session that gives RESULTS, and whether the forward is one that has the short end."""
    tape = Tape()
    inputs = {name: TENSORS[name].on(tape, name) for name in READ}
    inputs["tokens"] = tape.named("tokens", np.int32)
    best, usual = choose_greedily(tape.named("logits", np.float32), MASK, vocab)
    made = dict(zip(RESULTS, greedy_results(inputs, best), strict=True))
    made |= {"greedy": are_greedy_tokens(inputs, MASK), "usual": usual}
    for name, value in made.items():
        tape.op("Identity", value, name=f"out_{name}")
    return open_nodes(
        tape.nodes,
        {"tokens": (np.int32, ["batch", "width"]), "logits": (np.float32, ["batch", "window", vocab]),
         **{name: (type_of(name), axes_of(name, {})) for name in READ}},
        {f"out_{name}": (value.dtype, None) for name, value in made.items()},
        initializers=tape.constants,
    )  # fmt: skip


def short(logits, **inputs):
    session = short_end(np.shape(logits)[-1])
    feeds = {"tokens": np.asarray(inputs["tokens"], np.int32), "logits": np.asarray(logits, np.float32)}
    feeds |= {name: np.asarray(inputs[name], type_of(name)) for name in READ}
    names = [each.name.removeprefix("out_") for each in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


@cache
def advance_session():
    sizes = {"eos_ids": 8}
    node = helper.make_node(ADVANCE.name, ADVANCE.inputs, ADVANCE.outputs, domain=DOMAIN)
    return open_nodes(
        [node],
        {name: (type_of(name), axes_of(name, sizes)) for name in ADVANCE.inputs},
        {name: (type_of(name), None) for name in ADVANCE.outputs},
        functions=decode_functions(MASK, VOCAB, "onnxruntime"),
    )


def full(logits, **inputs):
    """What the decode operators give for the same forward."""
    rows = len(logits)
    found = run_operators(
        MASK, logits, operators=STEP, block=inputs["tokens"], eos_token_id=inputs["eos_token_id"], position=[[9]] * rows
    )
    given = {**inputs, **found, "block": inputs["tokens"], "valid_count": [1] * rows, "segments": [0] * rows}
    feeds = {name: np.asarray(given[name], type_of(name)) for name in ADVANCE.inputs}
    return {**found, **dict(zip(ADVANCE.outputs, advance_session().run(None, feeds), strict=True))}


@st.composite
def forwards(draw):
    rows, vocab = draw(st.integers(1, 4)), draw(st.sampled_from(VOCABS))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = rng.normal(scale=3.0, size=(rows, 1, vocab)).astype(np.float32)
    if draw(st.booleans()):
        logits = np.round(logits)  # ties
    logits[:, 0, MASK] = -9.0  # a row that would choose it does not take this end
    tokens = rng.choice([token for token in range(vocab) if token != MASK], (rows, 1))
    return logits, {
        "tokens": tokens,
        "temperature": np.zeros(rows),
        "program": rng.choice([HOLD, TOKEN], rows),
        "causal": np.ones(rows, bool),
        "cache_length": rng.integers(0, 50, rows),
        "sample": np.zeros(rows),
        "tokens_left": rng.integers(0, 4, rows),
        "eos_token_id": np.concatenate([rng.integers(0, vocab, (rows, 3)), np.full((rows, 5), -1)], axis=1),
    }


@settings(max_examples=200)
@given(forwards())
def test_it_gives_what_the_decode_operators_give(case):
    logits, inputs = case
    found, expected = short(logits, **inputs), full(logits, **inputs)
    assert found["greedy"].all()
    assert found["usual"]
    for name in RESULTS:
        assert found[name].dtype == expected[name].dtype, name
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def example(**changes):
    inputs = {
        "tokens": [[7], [8]], "temperature": [0, 0], "program": [TOKEN, HOLD], "causal": [True, True],
        "cache_length": [3, 4], "sample": [0, 0], "tokens_left": [5, 5], "eos_token_id": [[-1] * 8] * 2,
    }  # fmt: skip
    return {**inputs, **changes}


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": [[7, 7], [8, 8]]},
        {"tokens": [[7], [MASK]]},
        {"temperature": [0, 0.5]},
        {"program": [TOKEN, DIFFUSION]},
        {"causal": [True, False]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_forwards_do_not_take_it(change):
    logits = np.zeros((2, 1, VOCAB))
    assert short(logits, **example())["greedy"].all()
    session = short_end()
    feeds = {name: np.asarray(value, np.int32 if name == "tokens" else type_of(name))
             for name, value in example(**change).items()}  # fmt: skip
    assert not session.run(["out_greedy"], {**feeds, "logits": logits.astype(np.float32)})[0].any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_do_not_take_it(value):
    logits = np.zeros((2, 1, VOCAB))
    assert short(logits, **example())["usual"]
    logits[1, 0, 3] = value
    assert not short(logits, **example())["usual"]


def test_a_row_that_would_choose_mask_does_not_take_it():
    logits = np.zeros((2, 1, VOCAB))
    assert short(logits, **example())["usual"]
    logits[1, 0, MASK] = 1.0
    assert not short(logits, **example())["usual"]

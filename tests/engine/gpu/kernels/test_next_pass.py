# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The kernel of ``Advance``, run on the CPU, against the ONNX function and against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from nld_trt import names
from nld_trt.engine.gpu.kernels.spec import ADVANCE
from nld_trt.graph.step.decode_step import decode_functions
from nld_trt.graph.step.tensors import PROGRAMS
from nld_trt.graph.tape import DOMAIN
from nld_trt.measure.kernels import next_pass
from nld_trt.measure.kernels.cases import MASK
from nld_trt.measure.kernels.next_pass import SIZES, random_passes
from nld_trt.model.config import MAX_EOS_IDS
from tests.engine.gpu.kernels.emulation import Threads
from tests.graph.functions import axes_of, open_nodes, type_of

HOLD, DIFFUSION, QUADRATIC = map(PROGRAMS.index, (names.HOLD, names.DIFFUSION, names.QUADRATIC))


@pytest.fixture(scope="module")
def onnx_advance():
    session = open_nodes(
        [helper.make_node(ADVANCE.name, ADVANCE.inputs, ADVANCE.outputs, domain=DOMAIN)],
        {name: (type_of(name), axes_of(name, {"eos_ids": MAX_EOS_IDS})) for name in ADVANCE.inputs},
        {name: (type_of(name), None) for name in ADVANCE.outputs},
        functions=[
            each for each in decode_functions(MASK, 256, "onnxruntime", blocks=True) if each.name == ADVANCE.name
        ],
    )

    def run(values):
        feeds = {name: values[name] for name in ADVANCE.inputs}
        return dict(zip(ADVANCE.outputs, session.run(list(ADVANCE.outputs), feeds), strict=True))

    return run


def assert_equal(found, expected) -> None:
    assert set(found) == set(expected) == set(ADVANCE.outputs)
    for name in found:
        np.testing.assert_array_equal(found[name].view(np.uint8), expected[name].view(np.uint8), err_msg=name)


ROWS = st.integers(1, 9)
WIDTHS = st.sampled_from([1, 2, 6, 12, 20, 31, 32, 33, 64, 240, 256])


@settings(deadline=None, max_examples=150)
@given(rows=ROWS, width=WIDTHS, seed=st.integers(0, 2**32 - 1))
def test_kernel_is_the_onnx_function(kernels, onnx_advance, rows, width, seed):
    values = random_passes(rows, width, seed)
    assert_equal(kernels.advance(values), onnx_advance(values))


@settings(deadline=None, max_examples=100)
@given(width=WIDTHS, data=st.data())
def test_kernel_is_the_onnx_function_for_any_row(kernels, onnx_advance, width, data):
    """Every input is drawn on its own, so that pairs are met that no mode makes, and failures become small."""
    drafts = [count for count in range(16) if count + count**2 <= width]
    segments = data.draw(st.sampled_from(drafts))
    tokens = st.sampled_from([0, 1, 2, 3, MASK])
    row = {
        "block": st.lists(tokens, min_size=width, max_size=width),
        "cache_length": st.integers(0, 2**20),
        "valid_count": st.integers(0, 2 * width),
        "causal": st.booleans(),
        "segments": st.just(segments),
        "sample": st.integers(0, 9),
        "eos_token_id": st.lists(st.sampled_from([-1, 0, 3]), min_size=MAX_EOS_IDS, max_size=MAX_EOS_IDS),
        "program": st.integers(0, len(PROGRAMS) - 1),
        "tokens_left": st.integers(0, 2 * width),
        "block_tokens": st.lists(tokens, min_size=width, max_size=width),
        "masks_left": st.integers(0, 2),
        "verified_tokens": st.lists(st.sampled_from([-1, 0, 1, 2, 3]), min_size=width, max_size=width),
        "accepted_count": st.integers(0, segments or width),
        "bonus_token": st.integers(-1, 3),
        "eos_position": st.integers(0, width),
        "finite": st.integers(0, 1),
    }
    values = {name: np.array([data.draw(drawn, name)], type_of(name)) for name, drawn in row.items()}
    assert_equal(kernels.advance(values), onnx_advance(values))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_kernel_follows_the_definition(kernels, onnx_advance, sizes):
    for seed in range(5):
        values = random_passes(*sizes, seed)
        expected = next_pass.expected(values)
        assert_equal(kernels.advance(values), expected)
        assert_equal(onnx_advance(values), expected)


def test_random_passes_are_of_every_kind():
    """Ended, not finite, held and continued rows of every program, and each of the ends that they can have."""
    values = random_passes(4000, 30)
    out = next_pass.expected(values)
    kept_length = out["next_cache_length"] == values["cache_length"]
    for program in range(len(PROGRAMS)):
        ran = (values["program"] == program) & (values["tokens_left"] > 0)
        ended = ran & (out["next_tokens_left"] == 0)
        assert (ended & (values["finite"] == 0)).any() == (program != HOLD)
        assert (ended & (values["finite"] == 1)).any() == (program != HOLD)
        assert (ran & ~kept_length).any() == (program != HOLD)
    assert (out["next_sample"] > values["sample"]).any()
    assert ((values["segments"] > 0) & ~kept_length & (values["accepted_count"] > 1)).any()
    assert ((values["program"] == HOLD) & (values["valid_count"] > 30)).any()


@pytest.mark.parametrize("place", range(MAX_EOS_IDS))
@pytest.mark.parametrize("causal", [False, True])
def test_any_of_the_eos_ids_ends_a_diffusion_block(kernels, place, causal):
    """Wherever it stands among a row's ids: a causal pass ends the row, a bidirectional one leaves masks after it."""
    width, eos = 40, 7
    values = random_passes(1, width) | {
        "block": np.full((1, width), eos * causal, np.int32),
        "block_tokens": np.array([[3] * 35 + [eos] + [MASK] * 4], np.int32),
        "valid_count": np.array([width], np.int32),
        "causal": np.array([causal]),
        "segments": np.zeros(1, np.int32),
        "eos_token_id": np.where(np.arange(MAX_EOS_IDS) == place, eos, -1).astype(np.int32)[None],
        "program": np.array([DIFFUSION], np.int32),
        "tokens_left": np.array([1000], np.int32),
        "masks_left": np.array([4], np.int32),
        "finite": np.ones(1, np.int32),
    }
    found = kernels.advance(values)
    assert found["next_tokens_left"].tolist() == [0 if causal else 1000]
    assert found["next_causal"].tolist() == [True]


def test_quadratic_row_drafts_after_the_last_accepted_token(kernels):
    drafts = 3
    written = np.arange(100, 112, dtype=np.int32)[None]
    values = random_passes(1, 12) | {
        "block_tokens": written,
        "valid_count": np.array([12], np.int32),
        "causal": np.array([True]),
        "segments": np.array([drafts], np.int32),
        "eos_token_id": np.full((1, MAX_EOS_IDS), -1, np.int32),
        "program": np.array([QUADRATIC], np.int32),
        "tokens_left": np.array([1000], np.int32),
        "accepted_count": np.array([2], np.int32),
        "bonus_token": np.array([5], np.int32),
        "eos_position": np.array([12], np.int32),
        "finite": np.ones(1, np.int32),
    }
    assert kernels.advance(values)["next_tokens"].tolist() == [[5, 107, 108] + [MASK] * 9]


def test_rows_do_not_meet(kernels):
    values = random_passes(16, 33, seed=1)
    together = kernels.advance(values)
    for row in range(16):
        alone = kernels.advance({name: value[row : row + 1] for name, value in values.items()})
        assert_equal(alone, {name: found[row : row + 1] for name, found in together.items()})


@pytest.mark.parametrize("sizes", [(3, 1), (2, 33), (2, 240)], ids=str)
def test_threads_prepare_the_pass_that_loops_do(threads_library, kernels, sizes):
    values = random_passes(*sizes, seed=2)
    assert_equal(Threads(threads_library, MASK).advance(values), kernels.advance(values))

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a server prepares before its first client."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest

from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.graph.contract import Limits
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.serving.triton.warm_up import warm_up
from tests.canvas_models import make_canvas_model


class Recorder:
    """The embedded engine as one whose device works by itself, with row counts of its own."""

    runs_ahead = True

    def __init__(self, session):
        self._session = session
        self.launched = Counter()
        self.reserved = set()

    def __getattr__(self, name):
        return getattr(self._session, name)

    def row_count(self, rows):
        return next(count for count in (1, 3, 8) if rows <= count)

    @property
    def attended_lengths(self):
        return (100, 200, self._session.info.limits.capacity)

    def reserve(self, rows, capacity, *, held=None):
        self.reserved.add((rows, next(length for length in self.attended_lengths if length >= capacity)))
        self._session.reserve(rows, capacity, held=held)

    def launch(self, buffers):
        self.launched[buffers.shape] += 1
        self._session.launch(buffers)


@pytest.fixture(scope="module")
def recorder(served_engine):
    recorder = Recorder(served_engine.open_session("ort"))
    assert recorder.info.limits.max_batch_size == 8
    warm_up(recorder)
    return recorder


@pytest.fixture
def launched(recorder):
    return recorder.launched


def test_every_row_count_is_captured_for_every_length(recorder):
    assert recorder.reserved >= set(product((1, 3, 8), recorder.attended_lengths))


def test_a_whole_chunk_of_a_prompt_is_captured_for_every_length(recorder, launched):
    assert launched[1, recorder.info.limits.prompt_chunk, 1, False, 0] >= 2 * len(recorder.attended_lengths)


@pytest.mark.parametrize("samples", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 8])
def test_every_row_count_is_captured_in_both_directions(launched, served_engine, rows, samples):
    """A forward is captured when it runs for the second time, on either of two sides."""
    block = served_engine.info("ort").default_block_length
    assert launched[rows, 1, 1, samples, 0] >= 4
    assert launched[rows, block, block, samples, 0] >= 4


def test_families_with_a_mode_of_their_own_are_warmed_up_in_it(tmp_path):
    make_canvas_model("llada", tmp_path / "release")
    convert(tmp_path / "release", tmp_path / "converted")
    limits = Limits(max_batch_size=3, max_seq_len=128, max_block_length=32, prompt_chunk=128, max_canvas_length=128)
    plan = BuildPlan("ort", "fp32", limits, adapter=False)
    build_engine(Checkpoint.open_converted(tmp_path / "converted"), [plan], tmp_path / "engine")
    recorder = Recorder(EngineFolder.open(tmp_path / "engine").open_session("ort"))
    warm_up(recorder)
    # A block and one more token after a prompt of one, greedy and sampled.
    assert {(34, 32, False), (34, 1, True)} <= {shape[1:4] for shape in recorder.launched}

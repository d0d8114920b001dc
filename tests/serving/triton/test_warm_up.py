# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a server prepares before its first client."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest

from nld_trt.serving.triton.model import warm_up


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


@pytest.mark.parametrize("samples", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 8])
def test_every_row_count_is_captured_in_both_directions(launched, served_engine, rows, samples):
    """A forward is captured when it runs for the second time, on either of two sides."""
    block = served_engine.info("ort").default_block_length
    assert launched[rows, 1, 1, samples, 0] >= 4
    assert launched[rows, block, block, samples, 0] >= 4

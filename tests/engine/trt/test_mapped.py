# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Mapped weights: what a compiler reads there, and how much of it stays resident."""

from __future__ import annotations

import ctypes
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nld_trt.engine.trt.mapped import MappedWeights

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/smaps")

SIZE = 8 << 20


@pytest.fixture
def stored(tmp_path) -> Path:
    path = tmp_path / "model.weights"
    path.write_bytes(np.random.default_rng(0).integers(0, 256, SIZE, np.uint8).tobytes())
    return path


def resident(path: Path) -> int:
    """Bytes of the mappings of ``path`` that are resident."""
    maps = Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace")
    found = re.findall(rf"{re.escape(str(path))}\n(?:.*\n)*?Rss:\s+(\d+) kB", maps)
    return sum(map(int, found)) * 1024


def test_an_address_is_that_of_the_byte_in_the_file(stored):
    weights = MappedWeights(stored)
    assert ctypes.string_at(weights.address(4096), 64) == stored.read_bytes()[4096 : 4096 + 64]


def test_pages_that_were_read_are_given_back_and_can_be_read_again(stored):
    weights = MappedWeights(stored)
    content = ctypes.string_at(weights.address(0), SIZE)
    assert resident(stored) == SIZE
    weights.give_back()
    assert resident(stored) == 0
    assert ctypes.string_at(weights.address(0), SIZE) == content == stored.read_bytes()


def test_pages_are_given_back_while_the_body_goes_on(stored):
    weights = MappedWeights(stored)
    with weights.given_back():
        ctypes.string_at(weights.address(0), SIZE)
        deadline = time.monotonic() + 60
        while resident(stored) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert resident(stored) == 0

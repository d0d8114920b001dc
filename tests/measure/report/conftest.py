# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of sweeps in a test's own folder."""

from __future__ import annotations

import pytest

from tests.measure.report.sweep_rows import ROWS, write_sweep


@pytest.fixture
def sweep(tmp_path):
    """A function that writes a folder of results and returns it."""
    return lambda rows=ROWS, name="results", **more: write_sweep(tmp_path / name, rows, **more)

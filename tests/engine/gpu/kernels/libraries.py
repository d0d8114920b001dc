# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The kernels' sources as libraries for the CPU, compiled once in a process however many folders of tests use them."""

from __future__ import annotations

import ctypes

import pytest

from tests.engine.gpu.kernels.emulation import build


@pytest.fixture(scope="session")
def library(root, tmp_path_factory) -> ctypes.CDLL:
    return build(root, tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def threads_library(root, tmp_path_factory) -> ctypes.CDLL:
    """``decode_kernels.cu`` and the bandwidth kernels, with a thread of the system for each thread of a block."""
    return build(root, tmp_path_factory.getbasetemp(), "threads.cpp")

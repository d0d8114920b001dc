# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import ctypes

import pytest

from nld_trt.measure.kernels.cases import MASK
from tests.engine.trt.kernels.emulation import Emulation, build


@pytest.fixture(scope="session")
def library(root, tmp_path_factory) -> ctypes.CDLL:
    return build(root, tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="session")
def threads_library(root, tmp_path_factory) -> ctypes.CDLL:
    """``decode_kernels.cu`` and the bandwidth kernels, with a thread of the system for each thread of a block."""
    return build(root, tmp_path_factory.mktemp("threads"), "threads.cpp")


@pytest.fixture(scope="session")
def kernels(library) -> Emulation:
    return Emulation(library, MASK)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from nld_trt.measure.kernels.cases import MASK
from tests.engine.gpu.kernels.emulation import Emulation
from tests.engine.gpu.kernels.libraries import library, threads_library

__all__ = ["library", "threads_library"]


@pytest.fixture(scope="session")
def kernels(library) -> Emulation:
    return Emulation(library, MASK)

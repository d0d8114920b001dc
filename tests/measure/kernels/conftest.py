# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The libraries of emulated kernels that the tests of the kernels themselves use too."""

from __future__ import annotations

from tests.engine.trt.kernels.conftest import library, threads_library

__all__ = ["library", "threads_library"]

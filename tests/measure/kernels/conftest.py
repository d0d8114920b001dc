# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0

from tests.engine.gpu.kernels.libraries import library, threads_library

__all__ = ["library", "threads_library"]

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The parts of ``bench/gpu.py``, one module each, all with a function ``run``."""

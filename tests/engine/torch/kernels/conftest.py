# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The kernels run in Triton's interpreter, which must be chosen before the first of them is imported."""

from __future__ import annotations

import os

os.environ["TRITON_INTERPRET"] = "1"

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The number of threads with which an engine computes on the CPU."""

from __future__ import annotations

import os
import re

from nld_trt.errors import InputError, shortened

# The environment variable that sets it, for machines that several programs share.
THREADS_VARIABLE = "NLD_TRT_THREADS"
_MAX_THREADS = 1024


def default_threads() -> int:
    """Read the kernels' number of threads from the environment variable NLD_TRT_THREADS; 0 if it is not set.

    Raises:
        InputError: its value is not an integer from 0 to 1024.
    """
    text = os.environ.get(THREADS_VARIABLE, "").strip()
    if not text:
        return 0
    if not re.fullmatch(r"[0-9]{1,4}", text) or int(text) > _MAX_THREADS:
        raise InputError(
            f"the environment variable {THREADS_VARIABLE} is {shortened(text)!r}; it must be a whole number of threads "
            f"from 0 to {_MAX_THREADS}, where 0 stands for one on each physical core",
            fix=f"Set it to such a number, or remove it: unset {THREADS_VARIABLE}",
        )
    return int(text)

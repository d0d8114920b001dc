# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The C library's allocator in this process."""

from __future__ import annotations

import ctypes

# glibc's own number of the setting, and the size from which blocks are large. A compiler's blocks are single weights.
_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 2 << 20


def return_large_blocks() -> bool:
    """Let blocks of 2 MB and more go back to the system when they are freed, for the rest of the process.

    glibc keeps them, up to 32 MB, once one of that size was freed: a compiler that lays out one weight after another
    then holds gigabytes that it does not use. Returns whether the allocator has this setting, which only glibc's does.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES) == 1)

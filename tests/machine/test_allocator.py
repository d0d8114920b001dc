# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Freed memory goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Blocks of 16 MB, of which every second is freed, so that the heap cannot shrink at its end.
FREES = """
import ctypes, re, sys
from pathlib import Path
from nld_trt.machine.allocator import return_large_blocks

def resident():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text(encoding="ascii"))[1]) // 1024

c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
if sys.argv[1] == "set":
    assert return_large_blocks()
c.free(c.malloc(31 << 20))  # from here on glibc keeps smaller blocks in its heap
blocks = [c.malloc(16 << 20) for _ in range(16)]
for block in blocks:
    ctypes.memset(block, 1, 16 << 20)
for block in blocks[::2]:
    c.free(block)
print(resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
@pytest.mark.parametrize(("setting", "least", "most"), [("set", 128, 200), ("unset", 256, 400)])
def test_large_blocks_that_are_freed_are_not_resident(root, setting, least, most):
    done = subprocess.run(
        [sys.executable, "-c", FREES, setting], capture_output=True, encoding="utf-8", check=True, cwd=root
    )
    assert least <= int(done.stdout) <= most

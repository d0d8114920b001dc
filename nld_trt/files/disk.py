# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Disk space: checks for enough of it, and recognises that a disk is full."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from nld_trt.errors import OperationError
from nld_trt.files.records import human_bytes

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def disk_is_full(error: OSError) -> bool:
    return error.errno in _DISK_FULL


def check_space(home: Path, needs_bytes: int) -> None:
    """Raises OperationError when the disk that ``home`` is on, or will be on, has less than ``needs_bytes`` free."""
    while not home.exists():
        home = home.parent
    free = shutil.disk_usage(home).free
    if free < needs_bytes:
        raise OperationError(
            f"{human_bytes(needs_bytes)} are needed in {home} and {human_bytes(free)} are free",
            fix="Free some space or choose an output folder on another disk with -o.",
        )

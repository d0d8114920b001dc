# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Hashes and sizes of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

_CHUNK_BYTES = 8 << 20


def sha256_of(path: Path) -> str:
    """Returns the hexadecimal SHA-256 of a file, which is read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def human_bytes(size: int) -> str:
    """Format a size in decimal units, as disks and model cards do: ``17.0 GB``."""
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"

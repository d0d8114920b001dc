# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The acceptance that a sweep tells its drafts to have had, as its user names it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from nld_trt.decode.auto.shapes import PUBLISHED, PUBLISHED_BLOCK
from nld_trt.decode.scripted import Script
from nld_trt.files import sha256_of
from nld_trt.measure.simulate.published import acceptance_shape

FLAG: Final = "--scripted-acceptance"
_DIGITS: Final = 12


def read_script(asked: str) -> Script:
    """The script for a published workload, a mean acceptance length at blocks of 32, or a file of counts.

    A file says something of blocks as long as it has counts, what was published of blocks of up to 32.

    Raises:
        InputError: it is none of them, or the file has no such counts.
    """
    shape = acceptance_shape(asked, flag=FLAG)
    path = Path(asked)
    if asked in PUBLISHED:
        return Script(shape, f"{asked} ({shape.source})", PUBLISHED_BLOCK)
    if path.is_file():
        # Of N counts there are N - 1 hazards; a single count has one, which is 1.
        return Script(shape, f"{path.name}, sha256 {sha256_of(path)[:_DIGITS]}", len(shape.hazards) + 1)
    return Script(shape, shape.source, PUBLISHED_BLOCK)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Recognises folders that a command was writing when it was interrupted, or is writing now."""

from __future__ import annotations

import re
from pathlib import Path

from nld_trt.files.lock import OLD, PARTIAL, RESUMABLE, is_ours

_WORK = re.compile(rf"\.(?P<target>.+)\.({PARTIAL}-[0-9a-f]+|{OLD}-[0-9a-f]+|{RESUMABLE})")


def unfinished(folder: Path) -> str | None:
    """Says of which output ``folder`` is an unfinished part; None if it is none.

    It is one if it has the name of such a folder, or holds one: where a folder cannot be replaced as a whole, its
    contents are moved up from a folder inside it.
    """
    folder = folder.resolve()
    found = _WORK.fullmatch(folder.name)
    if found is not None:
        return f"the folder that a command writes before it becomes {folder.with_name(found['target'])}"
    if any(is_ours(entry.name, folder) for entry in folder.iterdir()):
        return "a folder into which a command was moving its result"
    return None

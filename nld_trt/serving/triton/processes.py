# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Child processes that ended without their parent noticing, as Linux lists them."""

from __future__ import annotations

import time
from pathlib import Path


def unnoticed_ends(parent: int) -> set[int]:
    """Ids of the children of ``parent`` that have ended and that it has not waited for; empty without ``/proc``."""
    ended = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:  # ended, and gone, in this moment
            continue
        # The second field is the program's name in parentheses and may hold anything.
        state, of = stat.rpartition(")")[2].split()[:2]
        if state == "Z" and int(of) == parent:
            ended.add(int(folder.name))
    return ended


class EndWatch:
    """Tells when a child has been dead for a while without its parent noticing.

    Triton waits for the first message of a model's process, and for ever if that process is gone by then.

    Args:
        patience: seconds in which a parent that works notices.
    """

    def __init__(self, parent: int, patience: float) -> None:
        self._parent = parent
        self._patience = patience
        self._since: dict[int, float] = {}

    def overdue(self) -> bool:
        now = time.monotonic()
        self._since = {child: self._since.get(child, now) for child in unnoticed_ends(self._parent)}
        return any(now - since > self._patience for since in self._since.values())

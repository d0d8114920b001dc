# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The processes of a server: children that ended without their parent noticing, and the group of all of them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def unnoticed_ends(parent: int) -> set[int]:
    """Returns the ids of children of ``parent`` that have ended and were not waited for. Empty without ``/proc``."""
    ended = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:  # the process has just ended
            continue
        # The second field is the program's name in parentheses and may hold anything.
        state, of = stat.rpartition(")")[2].split()[:2]
        if state == "Z" and int(of) == parent:
            ended.add(int(folder.name))
    return ended


class EndWatch:
    """Detects a child that ended some time ago without its parent noticing.

    Triton waits for the first message of a model's process, and never stops waiting if that process has ended.

    Args:
        patience: seconds within which a working parent notices.
    """

    def __init__(self, parent: int, patience: float) -> None:
        self._parent = parent
        self._patience = patience
        self._since: dict[int, float] = {}

    def overdue(self) -> bool:
        now = time.monotonic()
        self._since = {child: self._since.get(child, now) for child in unnoticed_ends(self._parent)}
        return any(now - since > self._patience for since in self._since.values())


def wait_for_group(group: int, seconds: float) -> bool:
    """Wait until a process group has no process. Returns whether that was so in time."""
    deadline = time.monotonic() + seconds
    while _send(group, 0):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def kill_group(group: int) -> None:
    """Kill all processes of a group. It may have none."""
    _send(group, signal.SIGKILL)


def _send(group: int, number: int) -> bool:
    """Send a signal to a process group. Returns whether it has any process."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True

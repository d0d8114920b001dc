# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The record of the process that writes an output, by which it is named to the user and known to have ended."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PROCESSES = Path("/proc/self/ns/pid")
# The field of /proc/PID/stat, counted after the name in parentheses, that holds the start time of the process in clock
# ticks since the boot.
_START_FIELD = 19


@dataclass(frozen=True)
class Holder:
    """The record of a process, which can be told from a later process with the same number.

    Attributes:
        boot: id of the kernel's boot, which containers of one machine share. Empty where the kernel gives none.
        processes: the process namespace that ``pid`` belongs to.
        started: clock ticks between the boot and the start of the process, or None where that cannot be read.
        since: the time when it began to write, in ISO 8601.
        leftovers: names, beside the lock file, of the files that it would leave if it were killed.
    """

    pid: int
    host: str
    boot: str
    processes: str
    started: int | None
    command: str
    since: str
    leftovers: tuple[str, ...] = ()

    @classmethod
    def this_process(cls) -> Self:
        return cls(
            pid=os.getpid(),
            host=socket.gethostname(),
            boot=_boot_id(),
            processes=_namespace(),
            started=_start_of(os.getpid()),
            command=_command(sys.argv),
            since=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @classmethod
    def from_json(cls, text: str) -> Self | None:
        """Read a record. Returns None where the text is not a record, such as one that was only partly written."""
        try:
            values = json.loads(text)
            found = cls(**values)
            # Only names are accepted: paths in an edited record could lead to other folders.
            return replace(found, leftovers=tuple(name for name in found.leftovers if Path(name).name == name))
        except (ValueError, TypeError):
            return None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def with_leftover(self, name: str) -> Self:
        return replace(self, leftovers=(*self.leftovers, name))

    @property
    def is_here(self) -> bool:
        """Whether the process belongs to this machine. Only those can be checked for having ended."""
        return self.host == socket.gethostname() or (self.boot != "" and self.boot == _boot_id())

    def has_ended(self, *, lock_is_free: bool | None) -> bool:
        """Whether the process has certainly ended.

        Args:
            lock_is_free: whether the lock that the process held could be taken; None where the file system has no
                locks, and the number and start time of the process decide.
        """
        if not self.is_here:
            return False
        if lock_is_free is not None:
            return lock_is_free
        if self.boot != _boot_id():
            return True
        return self.processes == _namespace() and _start_of(self.pid) != self.started

    def described(self) -> list[str]:
        """Returns the lines that describe the process in a message."""
        return [f"command: {self.command}", f"process: {self.pid} on {self.host}", f"since:   {self.since}"]


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return os.readlink(_PROCESSES)
    except OSError:
        return ""


def _start_of(pid: int) -> int | None:
    """Read the start time of a process. Returns None if there is no such process, or no /proc."""
    try:
        return int(
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="utf-8", errors="replace")
            .rpartition(")")[2]
            .split()[_START_FIELD]
        )
    except (OSError, ValueError, IndexError):
        return None


def _command(arguments: Sequence[Any]) -> str:
    name = Path(str(arguments[0])).name if arguments else ""
    return shlex.join(["nld-trt" if name in ("", "-c", "__main__.py") else name, *map(str, arguments[1:])])

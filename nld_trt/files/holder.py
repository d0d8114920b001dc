# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The process that writes an output: how it is named to the user, and whether it has certainly ended."""

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
# Field of /proc/PID/stat behind the name in parentheses: when the process started, in clock ticks since the boot.
_START_FIELD = 19


@dataclass(frozen=True)
class Holder:
    """A process, written down so that it can be told from a later one with the same number.

    Attributes:
        boot: names the running kernel; containers of one machine share it. Empty where there is no such name.
        processes: the namespace in which ``pid`` means something.
        started: clock ticks between the boot and the start of the process, or None where that cannot be read.
        since: when it began to write, in ISO 8601.
        leftovers: names beside the lock file of what it would leave if it were killed.
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
        """The holder in a record. Returns None where the text is no record, such as one whose writing was cut off."""
        try:
            values = json.loads(text)
            found = cls(**values)
            # A record that somebody edited must not lead elsewhere.
            return replace(found, leftovers=tuple(name for name in found.leftovers if Path(name).name == name))
        except (ValueError, TypeError):
            return None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def with_leftover(self, name: str) -> Self:
        return replace(self, leftovers=(*self.leftovers, name))

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this machine: another machine's processes cannot be judged from here."""
        return self.host == socket.gethostname() or (self.boot != "" and self.boot == _boot_id())

    def has_ended(self, *, lock_is_free: bool | None) -> bool:
        """Whether the process is certainly gone.

        Args:
            lock_is_free: whether the lock that it held while it lived could be taken; None where the file system has
                no locks, and the number and start time of the process must tell.
        """
        if not self.is_here:
            return False
        if lock_is_free is not None:
            return lock_is_free
        if self.boot != _boot_id():
            return True
        return self.processes == _namespace() and _start_of(self.pid) != self.started

    def described(self) -> list[str]:
        """Lines for a message."""
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
    """When a process started; None if there is no such process, or no /proc."""
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

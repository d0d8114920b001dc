# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A command of nld-trt in a process of its own, so that one that is killed takes no other with it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Final

PROGRAM: Final = (sys.executable, "-m", "nld_trt")

# Seconds in which a command ends after a signal.
_EXIT_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.2
_FLAGS: Final = "NLD_TRT_SWEEP_"
_ERROR: Final = "nld-trt: error: "
_READ_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class Child:
    """A command and the file of its output.

    Attributes:
        arguments: of ``nld-trt``.
        variables: of its environment, beside this process's.
    """

    arguments: Sequence[str]
    log: Path
    variables: Mapping[str, str] | None = None

    def run(self, stop: Event | None = None) -> str | None:
        """Run the command; return why it failed, or None. It is ended if this is interrupted or ``stop`` is set."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            process = subprocess.Popen(
                [*PROGRAM, *self.arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env={**_inherited(), **(self.variables or {})},
            )  # fmt: skip
            try:
                while (status := _waited(process, None if stop is None else _POLL_SECONDS)) is None:
                    if stop is not None and stop.is_set():
                        _end(process)
            except BaseException:
                _end(process)
                raise
        if not status:
            return None
        ended = f"signal {-status}" if status < 0 else f"exit status {status}"
        return f"{ended}: {reason_in(self.log) or f'see {self.log}'}"


def _waited(process: subprocess.Popen[bytes], seconds: float | None) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    if _waited(process, _EXIT_SECONDS) is None:
        process.kill()


def _inherited() -> dict[str, str]:
    """This process's environment, without the variables that stand for flags of its own command."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_FLAGS)}


def reason_in(log: Path) -> str | None:
    """Return the last error that a command has written into its log; None if it has written none."""
    try:
        text = log.read_bytes()[-_READ_BYTES:].decode("utf-8", "replace")
    except OSError:
        return None
    found = [line for line in text.splitlines() if line.startswith(_ERROR)]
    return found[-1].removeprefix(_ERROR) if found else None

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
from typing import Final

PROGRAM: Final = (sys.executable, "-m", "nld_trt")

# Seconds in which a command ends after a signal.
_EXIT_SECONDS: Final = 20.0
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

    def run(self) -> str | None:
        """Run the command; return why it failed, or None. It is ended if this is interrupted."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            process = subprocess.Popen(
                [*PROGRAM, *self.arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env={**os.environ, **(self.variables or {})},
            )  # fmt: skip
            try:
                status = process.wait()
            except BaseException:
                process.terminate()
                try:
                    process.wait(_EXIT_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                raise
        if not status:
            return None
        ended = f"signal {-status}" if status < 0 else f"exit status {status}"
        return f"{ended}: {reason_in(self.log) or f'see {self.log}'}"


def reason_in(log: Path) -> str | None:
    """Return the last error that a command has written into its log; None if it has written none."""
    try:
        text = log.read_bytes()[-_READ_BYTES:].decode("utf-8", "replace")
    except OSError:
        return None
    found = [line for line in text.splitlines() if line.startswith(_ERROR)]
    return found[-1].removeprefix(_ERROR) if found else None

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A guard, which leaves no process of a server behind where this process is killed and cannot clean up."""

from __future__ import annotations

import subprocess
from contextlib import suppress

# The shell waits for a line of this process, or for the end of this process, which closes the pipe.
_SCRIPT = 'read -r _ || kill -KILL "-$0"'


class Guard:
    """A process that kills a process group as soon as this process has ended without having dismissed it.

    Linux's death signal would reach the server and not its stubs, and a stub that hangs does not end with its server.

    Args:
        group: the id of the process group.
    """

    def __init__(self, group: int) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, str(group)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl-C in a terminal is for this process, which then dismisses the guard.
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """End the guard, which then kills nothing."""
        with suppress(BrokenPipeError):
            self._shell.communicate(b"\n")
        self._shell.wait()

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt serve`` as a process, and what tests see of its processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil


def group_lives(group: int) -> bool:
    return any(group_of(process) == group for process in psutil.process_iter())


def group_of(process: psutil.Process) -> int | None:
    """None for one that ended, also while this looked at it."""
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else os.getpgid(process.pid)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return None


def servers_of(command: int) -> list[psutil.Process]:
    """The tritonserver that a command has started, if it runs."""
    try:
        return [child for child in psutil.Process(command).children() if child.name() == "tritonserver"]
    except psutil.NoSuchProcess:
        return []


def stub_of(command: int) -> psutil.Process:
    """The process of the model, which is the server's only child."""
    (server,) = servers_of(command)
    (stub,) = server.children()
    return stub


class Command:
    """``nld-trt serve`` as a process."""

    def __init__(self, repository: Path, *options: str) -> None:
        arguments = ["serve", str(repository), "--http-port", "0", "--grpc-port", "0", "--metrics-port", "0", *options]
        # What starts the tests in the background may have them ignore Ctrl-C, and they would pass that on.
        code = (
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "from nld_trt.cli import main; main()"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def facts(self) -> dict:
        """The object that --json prints when the server is ready."""
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line == "}\n":
                break
        return json.loads("".join(lines))

    def talk(self) -> str:
        """What it says on stderr until it is done with that."""
        assert self.process.stderr is not None
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        return "".join(lines)

    def end(self, number: int) -> tuple[int, str]:
        """(exit status, rest of stderr) after a signal."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=120)
        return self.process.returncode, err

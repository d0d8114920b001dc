# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The program ``aiperf``: where it is, which version, and a run of it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nld_trt.errors import InputError

NAME: Final = "aiperf"
# The oldest version that has the options and the records which are read here.
MINIMUM: Final = (0, 13)
# It may need other versions of libraries than this package, so that it has an environment of its own.
INSTALL: Final = f"python3 -m venv {NAME} && {NAME}/bin/pip install '{NAME}>={MINIMUM[0]}.{MINIMUM[1]}'"

# Variables that are meant for this package's Python. Offline, AIPerf looks for a local tokenizer on the hub as well.
_NOT_PASSED: Final = ("PYTHONPATH", "PYTHONHOME", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_LOOPBACK: Final = "localhost,127.0.0.1,::1"
# Seconds in which AIPerf ends after a signal, and in which it says its version.
_EXIT_SECONDS: Final = 10.0
_VERSION_SECONDS: Final = 120.0


@dataclass(frozen=True)
class AiPerf:
    """An installed AIPerf."""

    path: Path
    version: str

    @classmethod
    def find(cls, given: Path | None = None) -> AiPerf:
        """Find the program: where the user says, else on PATH, else beside this Python.

        Raises:
            InputError: it is not there, does not run, or is too old. The message has the commands that install it.
        """
        path = given or _on_path()
        if path is None or not path.is_file():
            where = "which is not installed" if given is None else f"and {given} is not a file"
            raise InputError(
                f"nld-trt sweep URL needs the program {NAME}, {where}",
                fix=f"Install it into an environment of its own: {INSTALL}\n"
                f"Then add --{NAME} {NAME}/bin/{NAME}, or put that folder on PATH.",
            )
        found = _version(path.resolve())
        if tuple(map(int, found.split(".")[:2])) < MINIMUM:
            raise InputError(
                f"{path} is AIPerf {found}; {MINIMUM[0]}.{MINIMUM[1]} or newer is needed", fix=f"Install it: {INSTALL}"
            )
        # Not resolved: an environment's programs may be links, and Python finds the environment by the link.
        return cls(path.absolute(), found)

    def run(self, arguments: Sequence[str], log: Path) -> int:
        """Run ``aiperf`` with ``arguments``, and return its exit status. Its output is written to ``log``.

        Everything that it started is ended if this is interrupted.
        """
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(self.path), *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env=environment(os.environ), start_new_session=True,
            )  # fmt: skip
            try:
                return process.wait()
            except BaseException:
                _end(process)
                raise


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for AIPerf: its own libraries, and no proxy to servers of this machine."""
    kept = {name: value for name, value in variables.items() if name not in _NOT_PASSED}
    for name in ("no_proxy", "NO_PROXY"):
        kept[name] = ",".join(filter(None, [kept.get(name), _LOOPBACK]))
    return kept


def _on_path() -> Path | None:
    found = shutil.which(NAME) or shutil.which(NAME, path=str(Path(sys.executable).parent))
    return None if found is None else Path(found)


def _version(path: Path) -> str:
    try:
        told = subprocess.run(
            [path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, env=environment(os.environ),
            timeout=_VERSION_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{path} does not run: {error}", fix=f"Install it again: {INSTALL}") from error
    found = re.search(r"\d+\.\d+(\.\d+)?", told.stdout.decode(errors="replace"))
    if told.returncode or found is None:
        last = told.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise InputError(f"{path} --version failed", details=last, fix=f"Install it again: {INSTALL}")
    return found[0]


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_EXIT_SECONDS)

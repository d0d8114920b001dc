# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The notice that ``nld-trt serve`` gives to the models of its server before it stops the server.

Triton does not tell a model that the server is being stopped: it waits for open requests for a while and then ends,
whatever they are doing. A model that knows how long that is can give every request its last response in time. Triton
also waits for HTTP connections on which nobody asks anything, so the models say when they have no request left.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

# Names the folder of the notice in the environment of the models' processes. It is not set where no nld-trt serve
# started the server.
VARIABLE: Final = "NLD_TRT_NOTICE_FOLDER"
_FILE: Final = "stop"
# A file of each model's process, which is removed when the model has no request left after the notice.
_AT_WORK: Final = "at-work-"
_LOOK_SECONDS: Final = 0.1


def give_notice(folder: Path, seconds: float) -> None:
    """Tell the models that the server ends in ``seconds``."""
    draft = folder / f"{_FILE}.new"
    draft.write_text(str(seconds), encoding="utf-8")
    draft.rename(folder / _FILE)


def is_idle(folder: Path) -> bool:
    """Whether no model has a request left, after the notice."""
    return not any(folder.glob(f"{_AT_WORK}*"))


class NoticeReader:
    """A thread that waits for the notice.

    Args:
        told: is called once, on the thread, with the seconds until the server ends. It returns when the model has no
            request left.
        variables: the environment.
    """

    def __init__(self, told: Callable[[float], None], variables: Mapping[str, str] = os.environ) -> None:
        self._told = told
        self._closed = threading.Event()
        self._at_work: Path | None = None
        folder = variables.get(VARIABLE)
        if folder is not None:
            self._at_work = Path(folder) / f"{_AT_WORK}{os.getpid()}"
            with suppress(OSError):  # the disk is full, and the server then waits in vain when it is stopped
                self._at_work.touch()
            threading.Thread(target=self._wait, args=(Path(folder) / _FILE,), name="nld-notice", daemon=True).start()

    def close(self) -> None:
        """Wait no longer: the model has no request left."""
        self._closed.set()
        if self._at_work is not None:
            self._at_work.unlink(missing_ok=True)

    def _wait(self, file: Path) -> None:
        while not self._closed.wait(_LOOK_SECONDS):
            if file.is_file():
                self._told(float(file.read_text(encoding="utf-8")))
                self.close()

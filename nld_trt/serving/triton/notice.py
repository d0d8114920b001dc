# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The notice that ``nld-trt serve`` gives to the models of its server before it stops the server.

Triton does not tell a model that the server is being stopped: it waits for open requests for a while and then ends,
whatever they are doing. A model that knows how long that is can give every request its last response in time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

# Names the folder of the notice in the environment of the models' processes. It is not set where no nld-trt serve
# started the server.
VARIABLE: Final = "NLD_TRT_NOTICE_FOLDER"
_FILE: Final = "stop"
_LOOK_SECONDS: Final = 0.1


def give_notice(folder: Path, seconds: float) -> None:
    """Tell the models that the server ends in ``seconds``."""
    draft = folder / f"{_FILE}.new"
    draft.write_text(str(seconds), encoding="utf-8")
    draft.rename(folder / _FILE)


class NoticeReader:
    """A thread that waits for the notice.

    Args:
        told: is called once, on the thread, with the seconds until the server ends.
        variables: the environment.
    """

    def __init__(self, told: Callable[[float], None], variables: Mapping[str, str] = os.environ) -> None:
        self._told = told
        self._closed = threading.Event()
        folder = variables.get(VARIABLE)
        if folder is not None:
            threading.Thread(target=self._wait, args=(Path(folder) / _FILE,), name="nld-notice", daemon=True).start()

    def close(self) -> None:
        """Wait no longer."""
        self._closed.set()

    def _wait(self, file: Path) -> None:
        while not self._closed.wait(_LOOK_SECONDS):
            if file.is_file():
                self._told(float(file.read_text(encoding="utf-8")))
                return

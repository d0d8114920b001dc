# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The watchdog, which starts a server again whose model's process has died or hangs, or whose decode loop has ended.

Triton 2.51 notices none of that: it says that it is ready, and requests that were open never end. To unload and load
the model gives it a new process, but leaves those requests open for ever, or ends the server with a segmentation
fault. So the whole server is started again: every open request then ends with an error at once.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from nld_trt import names
from nld_trt.progress import SILENT, Progress
from nld_trt.serving.triton.probe import State, ask_state
from nld_trt.serving.triton.processes import EndWatch
from nld_trt.serving.triton.server import TritonServer

# After so many new starts within the time, the next trouble ends the server.
_MOST_RESTARTS: Final = 3
_RESTART_SECONDS: Final = 600.0
_LOOK_SECONDS: Final = 0.2
_ASK_SECONDS: Final = 1.0
# A process that ended in order is noticed by Triton at once.
_NOTICE_SECONDS: Final = 1.0


class Prober:
    """A thread that asks one model for its state again and again, and notes what is wrong.

    Args:
        patience: seconds within which the model must answer.
    """

    def __init__(self, server: TritonServer, model: str, patience: float) -> None:
        self.trouble: str | None = None
        self._server = server
        self._model = model
        self._patience = patience
        self._closed = threading.Event()
        threading.Thread(target=self._run, name=f"nld-probe-{model}", daemon=True).start()

    def close(self) -> None:
        """Ask no longer. A question that is open ends by itself."""
        self._closed.set()

    def _run(self) -> None:
        reached = time.monotonic()
        while not self._closed.wait(_ASK_SECONDS):
            host, port = self._server.reachable_host, self._server.ports.http
            state, words = ask_state(host, port, self._model, self._patience)
            if state != "unreachable":
                reached = time.monotonic()
            self.trouble = self._trouble(state, words, time.monotonic() - reached)

    def _trouble(self, state: State, words: str, unreached: float) -> str | None:
        if state == "silent":
            return f"the model {self._model} has not answered for {self._patience:g} s"
        if state == "ill":
            return f"the model {self._model} is not well: {words.strip()}"
        if unreached > self._patience:
            return f"tritonserver takes no connections, for {unreached:.0f} s now"
        return None


class Watchdog:
    """Watches over a started server, from the thread that calls :meth:`watch`.

    Args:
        models: names of the server's models. One that an operator has unloaded is left alone.
        patience: seconds without an answer from a model after which it counts as hanging.
        progress: is told of every new start.
    """

    def __init__(
        self,
        server: TritonServer,
        models: Sequence[str],
        *,
        patience: float = names.DEFAULT_PATIENCE,
        progress: Progress = SILENT,
    ) -> None:
        self._server = server
        self._models = models
        self._patience = patience
        self._progress = progress
        self._restarts: deque[float] = deque(maxlen=_MOST_RESTARTS)

    @property
    def restarts(self) -> int:
        """New starts, the last few of which are counted."""
        return len(self._restarts)

    def watch(self) -> None:
        """Keep the server going.

        Raises:
            OperationError: the server had trouble once more after several new starts in a short time, or cannot be
                started again.
        """
        while True:
            trouble = self._wait_for_trouble()
            now = time.monotonic()
            if self.restarts == _MOST_RESTARTS and now - self._restarts[0] < _RESTART_SECONDS:
                raise self._server.failure(
                    f"{trouble}, after {self.restarts} new starts within {_RESTART_SECONDS / 60:g} minutes"
                )
            self._restarts.append(now)
            self._progress.warn(f"{trouble}; open requests end with an error, and the server is started again")
            with self._progress.stage("starting tritonserver"):
                self._server.restart()

    def _wait_for_trouble(self) -> str:
        """Wait until something is wrong, and say what."""
        ends = EndWatch(self._server.pid, _NOTICE_SECONDS)
        probers = [Prober(self._server, model, self._patience) for model in self._models]
        try:
            while True:
                if self._server.ended is not None:
                    return self._server.ended
                if ends.overdue():
                    return "the process of a model has died"
                troubles = [prober.trouble for prober in probers if prober.trouble is not None]
                if troubles:
                    return troubles[0]
                time.sleep(_LOOK_SECONDS)
        finally:
            for prober in probers:
                prober.close()

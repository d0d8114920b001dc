# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Many clients for a long time: every answer is that of an engine without a server, and the processes do not grow.

NLD_TRT_TEST_SOAK_SECONDS sets how long; what takes part is what the load test has, bad requests and clients that leave
among it.
"""

from __future__ import annotations

import os
import statistics
import threading
from collections.abc import Mapping

import psutil
import pytest

from nld_trt.serving.triton.server import FREE_PORTS, TritonServer
from tests.serving.conftest import Server, wait_until
from tests.serving.test_load import Crowd, questions

SECONDS = float(os.environ.get("NLD_TRT_TEST_SOAK_SECONDS", "600"))
# Parts of the time; memory after the first, which fills caches and pools, is compared with memory in the last.
PARTS = 4
GROWTH = 1.05


class Memory:
    """Notes the resident memory of processes, in bytes, once in a while."""

    def __init__(self, processes: Mapping[str, psutil.Process]) -> None:
        self.notes: dict[str, list[int]] = {name: [] for name in processes}
        self._processes = processes
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def growth(self, name: str) -> float:
        """Memory at the end over memory after the first part."""
        notes = self.notes[name]
        part = len(notes) // PARTS
        return statistics.median(notes[-part:]) / statistics.median(notes[part : 2 * part])

    def _watch(self) -> None:
        while not self._ended.wait(SECONDS / 200):
            for name, process in self._processes.items():
                self.notes[name].append(process.memory_info().rss)


@pytest.mark.slow
@pytest.mark.triton
def test_answers_stay_right_and_memory_flat(repository, direct, tmp_path) -> None:
    asked = []
    for question in questions():
        options = {name: value for name, value in question.items() if name != "text_input"}
        asked.append((question, direct(question["text_input"], **options).text))
    with TritonServer(repository, ports=FREE_PORTS, log_file=tmp_path / "server.log", timeout=300) as triton:
        server = Server(triton)
        parent = psutil.Process(triton.pid)
        (stub,) = parent.children()
        crowd = Crowd(server, asked, SECONDS)
        with Memory({"server": parent, "stub": stub}) as memory:
            crowd.run()
        assert crowd.problems == []
        assert wait_until(lambda: server.total("nld_live_rows") == server.total("nld_waiting_requests") == 0)
    growth = {name: memory.growth(name) for name in memory.notes}
    print(dict(crowd.counts), growth, {name: notes[-1] // 2**20 for name, notes in memory.notes.items()})
    assert max(growth.values()) <= GROWTH, growth

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A server is stopped whatever ends it, and being stopped is no error."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from nld_trt.errors import OperationError
from nld_trt.serving.triton.running import running
from tests.recorded_progress import Recorded


@dataclass
class Server:
    """Stands in for TritonServer."""

    starts_with: BaseException | None = None
    calls: list[str] = field(default_factory=list)

    def start(self) -> None:
        self.calls.append("start")
        if self.starts_with is not None:
            raise self.starts_with

    def stop(self) -> None:
        self.calls.append("stop")


def test_server_is_started_and_stopped() -> None:
    server, told = Server(), Recorded()
    with running(server, told) as started:
        assert started is server
        assert server.calls == ["start"]
    assert server.calls == ["start", "stop"]
    assert told.stages == ["starting tritonserver", "stopping tritonserver"]


def test_an_interrupt_of_a_ready_server_is_how_it_ends() -> None:
    server = Server()
    with running(server):
        raise KeyboardInterrupt
    assert server.calls == ["start", "stop"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OperationError("no model loads")], ids=["interrupt", "failure"])
def test_what_ends_the_start_is_raised(error: BaseException) -> None:
    server = Server(starts_with=error)
    with pytest.raises(type(error)), running(server):
        pytest.fail("the server is not ready")
    assert server.calls == ["start", "stop"]


def test_a_failure_while_serving_is_raised() -> None:
    server = Server()
    with pytest.raises(OperationError, match="ended"), running(server):
        raise OperationError("tritonserver ended")
    assert server.calls == ["start", "stop"]

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""How the CUDA runtime is called, on a stand-in that records the calls."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from nld_trt.engine.gpu.device import Device
from nld_trt.engine.trt.flavour import TRT_RTX
from nld_trt.errors import OperationError

VALUES = {"cudaStreamCreateWithFlags": 7, "cudaMalloc": 4096, "cudaStreamEndCapture": "graph"}


class FakeRuntime:
    """Every function succeeds, but those in ``fails``; handles are the names of what made them."""

    cudaError_t = SimpleNamespace(cudaSuccess=0)
    cudaStreamNonBlocking = 1
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self):
        self.calls: list[tuple[str, ...]] = []
        self.fails: set[str] = set()

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append((name, *arguments))
            if name in self.fails:
                return SimpleNamespace(name="cudaErrorFake"), None
            return 0, VALUES.get(name, name)

        return call

    @property
    def names(self):
        return [name for name, *_ in self.calls]


@pytest.fixture
def cuda(monkeypatch):
    fake = FakeRuntime()
    monkeypatch.setitem(sys.modules, "cuda", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "cuda.bindings", SimpleNamespace(runtime=fake))
    return fake


def test_what_is_captured_can_be_launched(cuda):
    device = Device("a trt-rtx engine", TRT_RTX.install)
    device.launch(device.capture(lambda: None))
    assert cuda.calls[-1] == ("cudaGraphLaunch", "cudaGraphInstantiate", 7)


@pytest.mark.parametrize("failing", ["work", "cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_a_capture_that_fails_is_ended_and_gives_nothing(cuda, failing):
    def work():
        if failing == "work":
            raise OperationError("no")

    device = Device("a trt-rtx engine", TRT_RTX.install)
    cuda.fails.add(failing)
    assert device.capture(work) is None
    assert cuda.names.count("cudaStreamBeginCapture") == cuda.names.count("cudaStreamEndCapture") == 1
    assert cuda.names[-1] == "cudaGetLastError"


def test_a_call_that_fails_is_named(cuda):
    cuda.fails.add("cudaMalloc")
    with pytest.raises(OperationError, match="the GPU refused cudaMalloc: cudaErrorFake"):
        Device("a trt-rtx engine", TRT_RTX.install).allocate(8)


def test_memory_goes_with_the_device(cuda):
    Device("a trt-rtx engine", TRT_RTX.install).allocate(8)
    assert cuda.calls[-1] == ("cudaFree", 4096)

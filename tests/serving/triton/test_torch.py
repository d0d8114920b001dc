# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A real Triton server with a ``torch`` engine on the CPU."""

from __future__ import annotations

import sys

import pytest

from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.serving.triton.repository import write_repository
from nld_trt.serving.triton.server import FREE_PORTS, TritonServer
from tests.conftest import TINY_LIMITS
from tests.serving.conftest import Server

pytestmark = [pytest.mark.triton, pytest.mark.slow]

PROMPT = "Convert 37 km to m."


@pytest.fixture(scope="module")
def torch_server(golden, tmp_path_factory):
    if sys.platform != "linux":
        pytest.skip("a Triton server runs on Linux")
    folder = tmp_path_factory.mktemp("torch")
    build_engine(golden("nld-tiny"), [BuildPlan("torch", "fp32", TINY_LIMITS, adapter=True)], folder / "engine")
    repository = write_repository(EngineFolder.open(folder / "engine"), folder / "repository")
    with TritonServer(repository.path, ports=FREE_PORTS, log_file=folder / "server.log", timeout=300) as triton:
        yield Server(triton), folder / "server.log"


@pytest.mark.parametrize("mode", ["ar", "diffusion", "linear"])
def test_answers_are_those_of_the_embedded_engine(torch_server, direct, mode) -> None:
    server, _ = torch_server
    expected = direct(PROMPT, mode=mode, max_tokens=60)
    chunks = server.ask(text_input=PROMPT, mode=mode, max_tokens=60)
    assert len(chunks) > 1
    assert "".join(chunk.text for chunk in chunks) == expected.text
    assert (chunks[-1].finish_reason, chunks[-1].nfe) == (expected.finish_reason, expected.nfe)


def test_log_names_the_backend_and_its_times(torch_server) -> None:
    _, log = torch_server
    assert "nld: torch fp32, batch 8, 512 tokens, opened in" in log.read_text(encoding="utf-8")

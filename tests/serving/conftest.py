# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""nld-tiny as a repository, one server for all tests that only ask, and what its answers must equal."""

from __future__ import annotations

import http.client
import json
import re
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nld_trt.decode.auto.candidate import BLOCK_LENGTHS
from nld_trt.decode.auto.costs import assumed
from nld_trt.decode.auto.stored import TablePlace
from nld_trt.decode.batch import Batch
from nld_trt.decode.request import Request
from nld_trt.decode.result import Result
from nld_trt.engine.folder import EngineFolder
from nld_trt.model.text.codec import Codec
from nld_trt.names import DEFAULT_THRESHOLDS
from nld_trt.serving.triton.client import Chunk, stream
from nld_trt.serving.triton.repository import write_repository
from nld_trt.serving.triton.server import FREE_PORTS, TritonServer

# Some 400 forwards of a whole block: about a second, in which a client can leave.
LONG = {"mode": "diffusion", "threshold": -1.0, "block_length": 32, "ignore_eos": True}


@pytest.fixture(scope="session")
def served_engine(engine: Callable[..., EngineFolder]) -> EngineFolder:
    folder = engine("nld-tiny")
    # Servers time forwards at the first load, which these tests need not wait for each time.
    limits = folder.manifest.limits
    table = assumed(limits.max_batch_size, [1, *(each for each in BLOCK_LENGTHS if each <= limits.max_block_length)])
    assert TablePlace.of(folder, "ort", gpu=False).store(table) is not None
    return folder


@pytest.fixture(scope="session")
def direct(served_engine: EngineFolder) -> Callable[..., Result]:
    """Decodes without any server: what the server's answers have to equal."""
    session = served_engine.open_session("ort")
    codec = Codec.open(served_engine.path)
    assert codec is not None

    def decode(prompt: str | list[int], *, mode: str = "linear", max_tokens: int, **options: Any) -> Result:
        ids = codec.encode_prompt(prompt) if isinstance(prompt, str) else tuple(prompt)
        options.setdefault("threshold", DEFAULT_THRESHOLDS[mode])  # type: ignore[index]
        batch = Batch(session, codec)
        row = batch.submit(Request(ids, mode, max_new_tokens=max_tokens, **options))  # type: ignore[arg-type]
        text = "".join(emission.text for emission in batch.run())
        result = Result.of(row)
        assert result.text == text
        return result

    return decode


@pytest.fixture
def repository(served_engine: EngineFolder, tmp_path: Path) -> Path:
    """A repository that the test may change."""
    return write_repository(served_engine, tmp_path / "repository").path


class Server:
    """A running server and ways to talk to it."""

    def __init__(self, triton: TritonServer) -> None:
        self.triton = triton

    def ask(self, **inputs: Any) -> list[Chunk]:
        """Over gRPC."""
        return list(stream(self.triton.grpc_url, timeout=120, **inputs))

    def post(self, path: str, body: Any = None) -> tuple[int, str]:
        """(status, text) of a whole answer over HTTP."""
        connection = http.client.HTTPConnection("127.0.0.1", self.triton.ports.http, timeout=120)
        try:
            connection.request("POST", path, json.dumps(body or {}))
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def generate_stream(self, **body: Any) -> list[dict[str, Any]]:
        _, text = self.post("/v2/models/nld/generate_stream", body)
        return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line]

    def metrics(self) -> dict[str, float]:
        """Our series by name and labels, as Prometheus writes them."""
        # The environment may name a proxy, which does not know this machine's loopback address.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.triton.metrics_url, timeout=60) as response:
            text = response.read().decode()
        return {name: float(value) for name, value in re.findall(r"^(nld_\S+) (\S+)$", text, re.M)}

    def total(self, family: str, **labels: str) -> float:
        wanted = [f'{name}="{value}"' for name, value in labels.items()]
        return sum(
            value
            for name, value in self.metrics().items()
            if name.startswith(f"{family}{{") and all(label in name for label in wanted)
        )


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(scope="session")
def server(served_engine: EngineFolder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for every test that leaves it as it is."""
    if sys.platform != "linux":
        pytest.skip("a Triton server runs on Linux")
    folder = tmp_path_factory.mktemp("server")
    repository = write_repository(served_engine, folder / "repository")
    with TritonServer(repository.path, ports=FREE_PORTS, log_file=folder / "server.log", timeout=300) as triton:
        yield Server(triton)

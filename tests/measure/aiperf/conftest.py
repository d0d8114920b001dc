# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A server that answers as nld-trt's front does, and a program that leaves the files of a recorded run of AIPerf.

``artifacts`` has what AIPerf 0.13.0 wrote about four SPEED-Bench conversations with nld-tiny, cut to the fields that
are read, and ``artifacts/refused`` about two requests that were refused.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nld_trt.measure.aiperf.endpoint import Endpoint

ARTIFACTS = Path(__file__).parent / "artifacts"
# The conversations of the recorded run.
CATEGORIES = {
    "aaea94feb650e42934f7312912f2e3ba": "addition",
    "d5a1eea291a480a206076842a54ee753": "sorting",
    "e2ba600f308e31886a07fa25c99c9824": "counting",
    "bf144f7bf17e0f3d07050f60a8a511da": "addition",
}


@dataclass
class FakeFront:
    """Answers of a server: which modes it decodes in, and up to which block length."""

    models: list[str] | None = field(default_factory=lambda: ["nld"])
    modes: tuple[str, ...] = ("ar", "diffusion", "linear")
    longest: int = 32
    status: int = 200
    asked: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint.parse(self.url)

    def answer(self, path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        if path == "/v1/models" and self.models is not None:
            return 200, {"object": "list", "data": [{"id": name} for name in self.models]}
        if path != "/v1/chat/completions" or body is None:
            return 404, {"error": {"message": f"no {path}"}}
        self.asked.append(body)
        if self.status != 200:
            return self.status, {"error": {"message": "not ready: nld"}}
        if not self.modes:
            return 200, {"choices": []}
        mode = body.get("mode", "linear")
        if mode not in self.modes:
            return 400, {"error": {"message": f"mode is {mode!r}, which the engine lacks\nRebuild it."}}
        if body.get("block_length", 1) > self.longest:
            return 400, {"error": {"message": "the block is too long"}}
        return 200, {"choices": [], "metrics": {"mode": mode}}


@pytest.fixture
def front() -> Iterator[FakeFront]:
    fake = FakeFront()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def _answer(self, body: dict[str, Any] | None) -> None:
            status, answer = fake.answer(self.path, body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def recorded_aiperf(tmp_path: Path) -> Path:
    """A program that leaves the recorded files; for concurrency 2 those of requests that were refused, and status 1."""
    program = tmp_path / "recorded-aiperf"
    program.write_text(
        f"""#!{sys.executable}
import pathlib, shutil, sys
if sys.argv[1:] == ["--version"]:
    print("0.13.0")
    sys.exit()
flags = dict(zip(sys.argv[2:], sys.argv[3:]))
refused = flags["--concurrency"] == "2"
source = pathlib.Path({str(ARTIFACTS)!r}, "refused" if refused else "")
for file in source.glob("*.json*"):
    shutil.copy(file, flags["--artifact-dir"])
sys.exit(refused)
""",
        encoding="utf-8",
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def speed_bench(tmp_path: Path) -> Path:
    """The prompts of the recorded run, by their ids."""
    path = tmp_path / "qualitative.jsonl"
    messages = [{"role": "user", "content": "Add 2 and 3."}]
    rows = [{"question_id": name, "category": kind, "messages": messages} for name, kind in CATEGORIES.items()]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path

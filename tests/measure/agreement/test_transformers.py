# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""transformers' own server with nld-tiny as ``--to ministral3`` exports it: right, and with rotary settings changed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.graph.contract import Limits
from nld_trt.measure.agreement.agreement import Agreement, Examination, Settings
from nld_trt.measure.agreement.server import OpenAIServer
from nld_trt.model.ministral3 import export_ministral3
from tests.serving.conftest import wait_until

pytestmark = pytest.mark.slow
# Its server loads every model through it, on the CPU too.
pytest.importorskip("accelerate")


@contextmanager
def transformers_server(model: Path, log: Path) -> Iterator[str]:
    """The address of ``transformers serve`` with one model."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(model), "--device", "cpu"]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)], stdout=stream, stderr=stream,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        assert wait_until(lambda: process.poll() is not None or answers(url), seconds=120)
        assert process.poll() is None, log.read_text(encoding="utf-8")
        yield url
    finally:
        process.terminate()
        process.wait(30)


def answers(url: str) -> bool:
    with suppress(urllib.error.URLError, OSError):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{url}/health", timeout=5) as response:
            return bool(response.status == 200)
    return False


@pytest.fixture(scope="module")
def long_engine(golden, tmp_path_factory) -> EngineFolder:
    """Beyond the position where the query scale begins, which is 1,024 here."""
    target = tmp_path_factory.mktemp("long") / "engine"
    limits = Limits(max_batch_size=1, max_seq_len=1300, max_block_length=32, prompt_chunk=256)
    build_engine(golden("nld-tiny"), [BuildPlan("ort", "fp32", limits, adapter=False)], target)
    return EngineFolder.open(target)


@pytest.fixture
def examined(golden, long_engine, tmp_path) -> Iterator[Callable[..., Agreement]]:
    """Serves the export, with ``change`` made to its configuration, and compares it."""
    model = tmp_path / "model"
    export_ministral3(golden("nld-tiny"), model)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    with ExitStack() as stack:

        def run(change: dict[str, Any], *, explain: bool = False) -> Agreement:
            config["rope_parameters"].update(change)
            (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
            url = stack.enter_context(transformers_server(model, tmp_path / "log"))
            server = OpenAIServer(url, model=str(model), timeout=300)
            found = Examination(server, long_engine, Settings(samples=6, max_tokens=12))
            return found.run(checkpoint=golden("nld-tiny") if explain else None)

        yield run


def test_the_export_agrees(examined) -> None:
    found = examined({})
    assert found.agrees, found
    assert [row.name for row in found.rows] == ["short", "before 1,024", "from 1,024 on", "chat"]
    # Texts without log-probabilities: this server takes neither token ids nor tells probabilities.
    assert found.form == "prompts as text"
    assert found.notes == []


def test_rotary_frequencies_without_yarn_are_found_and_explained(examined) -> None:
    found = examined({"rope_type": "default"}, explain=True)
    assert found.facts[0].startswith("weights or positions: ")
    assert "explained best by: plain rotary frequencies, no YaRN" in found.facts[-1]


def test_wrong_query_scale_is_found_where_it_begins(examined) -> None:
    """Ten times as strong as the model's, because a network as small as this hardly notices that it is missing."""
    found = examined({"llama_4_scaling_beta": 1.0})
    assert len(found.facts) == 1
    assert found.facts[0].startswith("positions: answers differ from 1,")

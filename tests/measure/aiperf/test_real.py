# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The real AIPerf against a real server on nld-tiny. `make test-aiperf` installs AIPerf and runs these tests."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nld_trt.cli import run as command
from nld_trt.decode.engine import Engine
from nld_trt.errors import InputError
from nld_trt.measure.aiperf.program import AiPerf, environment
from nld_trt.names import NEVER
from nld_trt.serving.openai.link import TritonLink
from nld_trt.serving.openai.listener import Listener
from nld_trt.serving.openai.server import FrontServer
from nld_trt.serving.triton.repository import write_repository
from nld_trt.serving.triton.server import FREE_PORTS, TritonServer

pytestmark = [pytest.mark.slow, pytest.mark.triton]

PROMPTS = ("Add 221 and 427 with steps.", "Sort these numbers: 13 57 56 69", "Count the fruits: kiwi plum kiwi")


@pytest.fixture(scope="module")
def aiperf() -> AiPerf:
    given = os.environ.get("NLD_TRT_SWEEP_AIPERF")
    try:
        return AiPerf.find(None if given is None else Path(given))
    except InputError as error:
        pytest.skip(f"AIPerf is not installed (make test-aiperf installs it): {error.what}")


@pytest.fixture(scope="module")
def triton(aiperf: AiPerf, engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    if sys.platform != "linux":
        pytest.skip("a Triton server runs on Linux")
    folder = tmp_path_factory.mktemp("served")
    repository = write_repository(engine("nld-tiny"), folder / "repository")
    with TritonServer(repository.path, ports=FREE_PORTS, log_file=folder / "server.log", timeout=300) as server:
        yield server


@pytest.fixture
def front(triton: TritonServer) -> Iterator[str]:
    with FrontServer(TritonLink(triton.grpc_url), ["nld"], Listener()) as server:
        yield server.listener.url


def sweep(url: str, prompts: Path, aiperf: AiPerf, *more: str) -> list[dict[str, str]]:
    """The rows of a sweep."""
    results = prompts.parent / "results"
    flags = ("--repeats", "1", "--warmup", "1", "--max-new-tokens", "16", "--no-plots", *more)
    arguments = ["sweep", url, "--prompts", str(prompts), "-o", str(results), "--aiperf", str(aiperf.path), *flags]
    assert command(arguments) == 0
    with (results / "summary.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_sweep_of_a_server_finds_what_one_of_the_engine_does(aiperf, front, engine, tmp_path) -> None:
    """Tokens and forwards are those of the engine, because requests are greedy."""
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"text": text}) + "\n" for text in PROMPTS), encoding="utf-8")
    flags = ("--modes", "ar,linear", "--block-length", "8", "--concurrency", "2", "--requests", "3", "--ignore-eos")
    served = {row["mode"]: row for row in sweep(front, prompts, aiperf, *flags)}
    opened = Engine.open(engine("nld-tiny").path)
    for mode, row in served.items():
        length = {"block_length": int(row["block_length"])} if row["block_length"] else {}
        answers = [
            opened.generate(text, mode=mode, max_new_tokens=16, eos_token_id=NEVER, temperature=0.0, **length)
            for text in PROMPTS
        ]
        assert int(row["output_tokens"]) == sum(len(answer.output_ids) for answer in answers) == 48
        forwards = sum(answer.nfe for answer in answers)
        assert float(row["tokens_per_forward"]) == pytest.approx(48 / forwards, abs=1e-5)
        assert 0 < float(row["ttft_ms_p50"]) < float(row["request_latency_ms_p50"])
    assert float(served["linear"]["acceptance_length"]) > 1
    assert served["ar"]["acceptance_length"] == ""


def test_requests_may_arrive_at_a_rate(aiperf, front, tmp_path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"text": text}) + "\n" for text in PROMPTS), encoding="utf-8")
    flags = ("--modes", "linear", "--concurrency", "2", "--request-rate", "4", "--requests", "6", "--ignore-eos")
    (row,) = sweep(front, prompts, aiperf, *flags)
    assert (row["requests_ok"], row["request_rate"]) == ("6", "4.0")
    assert float(row["output_tps"]) > 0


def test_speed_bench_through_a_front_before_triton(aiperf, triton, tmp_path, capsys) -> None:
    prompts = tmp_path / "qualitative.jsonl"
    rows = [
        {"question_id": f"{number:032}", "category": kind, "messages": [{"role": "user", "content": text}] * 2}
        for number, (kind, text) in enumerate(zip(("math", "sorting", "math"), PROMPTS, strict=True))
    ]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (row,) = sweep(triton.grpc_url, prompts, aiperf, "--modes", "linear", "--ignore-eos")
    assert (row["requests_ok"], row["requests_failed"]) == ("6", "0")
    with (tmp_path / "results" / "categories.csv").open(encoding="utf-8") as file:
        found = {line["category"]: line for line in csv.DictReader(file)}
    assert {name: line["requests"] for name, line in found.items()} == {"math": "4", "sorting": "2"}
    assert all(float(line["acceptance_length"]) > 1 for line in found.values())
    assert "acceptance length" in capsys.readouterr().out


def test_the_configuration_of_a_repository_is_valid(aiperf, triton, tmp_path) -> None:
    config = Path(triton.repository) / "aiperf.yaml"
    done = subprocess.run(
        [aiperf.path, "config", "expand", config], capture_output=True, text=True, encoding="utf-8",
        env=environment(os.environ), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for level in (1, 4, 8):
        assert f"mode_linear__concurrency_{level}" in done.stdout

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The whole path on nld-tiny: convert, build, repository, server, an answer per mode, a table, a picture over load.

`make demo` runs it. Every step is a command that a user would type, and is printed before it runs.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from nld_trt.cli._output import output
from nld_trt.measure.report.write import PAGE
from nld_trt.serving.triton.client import Chunk, stream
from nld_trt.serving.triton.server import FREE_PORTS, TritonServer

ROOT = Path(__file__).parents[1]
PROMPT = "Add 478 and 356 with steps."
REPEATS = 5
VARIANTS = {
    "ar": {"mode": "ar"},
    "diffusion": {"mode": "diffusion"},
    "linear": {"mode": "linear", "lora": True},
    "linear-no-lora": {"mode": "linear", "lora": False},
    "auto": {"mode": "auto"},
}


def main() -> None:
    started = time.monotonic()
    folder = Path("demo-output")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    checkpoint, engine, repository = folder / "checkpoint", folder / "engine", folder / "repository"
    nld_trt("convert", ROOT / "examples" / "nld-tiny", "-o", checkpoint)
    nld_trt(
        "build", checkpoint, "-o", engine, "--backend", "ort", "--backend", "trt-rtx",
        "--platform", "rtx-pro-6000", "--platform", "dgx-spark", "--max-seq-len", 1024,
    )  # fmt: skip
    nld_trt("repo", engine, "-o", repository)
    announce("nld-trt", "serve", repository)
    with TritonServer(repository, ports=FREE_PORTS, log_file=folder / "server.log") as server:
        print(f"server ready: {server.http_url} (HTTP), {server.grpc_url} (gRPC)\n")
        rows = [streamed(server.grpc_url, name, options) for name, options in VARIANTS.items()]
    print("server stopped\n")
    output.table(
        ["mode", "tokens", "tokens per forward", "acceptance length", "tokens/s", "first text ms"],
        rows,
        title="nld-tiny through Triton, embedded engine on this CPU, one request at a time",
    )
    nld_trt(
        "sweep", engine, "--backend", "ort", "--prompts", ROOT / "examples" / "nld-tiny" / "eval.jsonl", "-o",
        folder / "sweep", "--modes", "ar,linear,auto", "--concurrency", "1,2,4,8", "--requests", 16, "--repeats", 2,
    )  # fmt: skip
    nld_trt("report", folder / "sweep", "-o", folder / "report")
    print(f"\nopen in a browser: {folder / 'report' / PAGE}")
    print(f"\nfinished in {time.monotonic() - started:.0f} s; everything is in {folder}/")


def announce(*words: object) -> None:
    print("\n$ " + shlex.join(map(str, words)), flush=True)


def nld_trt(*words: object) -> None:
    announce("nld-trt", *words)
    subprocess.run([sys.executable, "-m", "nld_trt", *map(str, words)], check=True)


def streamed(url: str, name: str, options: dict[str, object]) -> list[object]:
    """Stream one answer to the terminal, then repeat it for the figures. Returns its row of the table."""
    flags = ["--no-lora"] if name == "linear-no-lora" else []
    announce("nld-trt", "client", url, PROMPT, "--mode", options["mode"], *flags)
    for chunk in stream(url, text_input=PROMPT, **options):
        print(chunk.text, end="", flush=True)
    print(flush=True)
    runs = [timed(url, options) for _ in range(REPEATS)]
    seconds, first, chunks = sorted(runs, key=lambda run: run[0])[REPEATS // 2]
    tokens = sum(chunk.tokens for chunk in chunks)
    last = chunks[-1]
    accepted = "-" if last.acceptance_length is None else f"{last.acceptance_length:.2f}"
    return [name, tokens, f"{last.tokens_per_forward:.2f}", accepted, round(tokens / seconds), round(first * 1e3, 1)]


def timed(url: str, options: dict[str, object]) -> tuple[float, float, list[Chunk]]:
    """Send one request. Returns its seconds with the connection, the seconds until the first text, and its chunks."""
    began = time.monotonic()
    first = None
    chunks = []
    for chunk in stream(url, text_input=PROMPT, **options):
        first = first or time.monotonic() - began
        chunks.append(chunk)
    assert first is not None
    return time.monotonic() - began, first, chunks


if __name__ == "__main__":
    main()

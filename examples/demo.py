# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The whole path on nld-tiny: convert, build, repository, server, one streamed answer per mode, a table.

`make demo` runs it. Every step is the command a user would type, and is printed before it runs.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from nld_trt.cli._output import output
from nld_trt.serving.client import Prompt, stream
from nld_trt.serving.tritonserver import TritonServer

ROOT = Path(__file__).parents[1]
PROMPT = "Add 478 and 356 with steps."
VARIANTS = {
    "ar": {"mode": "ar"},
    "diffusion": {"mode": "diffusion"},
    "linear": {"mode": "linear", "lora": True},
    "linear-no-lora": {"mode": "linear", "lora": False},
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
    with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0, log_file=folder / "server.log") as server:
        print(f"server ready: {server.http_url} (HTTP), {server.grpc_url} (gRPC)\n")
        rows = [streamed(server.grpc_url, name, options) for name, options in VARIANTS.items()]
    print("server stopped\n")
    output.table(
        ["mode", "tokens", "tokens per forward", "acceptance length", "tokens/s", "first text ms"],
        rows,
        title="nld-tiny through Triton, embedded engine on this CPU, one request at a time",
    )
    print(f"\nfinished in {time.monotonic() - started:.0f} s; everything is in {folder}/")


def announce(*words: object) -> None:
    print("\n$ " + shlex.join(map(str, words)), flush=True)


def nld_trt(*words: object) -> None:
    announce("nld-trt", *words)
    subprocess.run([sys.executable, "-m", "nld_trt", *map(str, words)], check=True)


def streamed(url: str, name: str, options: dict[str, object]) -> list[object]:
    """Stream one answer to the terminal; returns the row of the table, from a second, warm request."""
    announce(
        "nld-trt",
        "client",
        url,
        PROMPT,
        "--mode",
        options["mode"],
        *(["--no-lora"] if name.endswith("no-lora") else []),
    )
    for chunk in stream(url, Prompt(PROMPT, **options)):
        print(chunk.text, end="", flush=True)
    print(flush=True)
    began = time.monotonic()
    first = None
    tokens = 0
    for chunk in stream(url, Prompt(PROMPT, **options)):
        first = first or time.monotonic()
        tokens += chunk.num_output_tokens
    seconds = time.monotonic() - began
    accepted = f"{chunk.acceptance_length:.2f}" if options["mode"] == "linear" else "-"
    return [
        name,
        tokens,
        f"{chunk.tokens_per_forward:.2f}",
        accepted,
        f"{tokens / seconds:.0f}",
        f"{(first - began) * 1e3:.1f}",
    ]


if __name__ == "__main__":
    main()

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Compare AR decoding and prefill on the embedded engine with the libraries that a user would pick instead, on a CPU.

    pip install llama-cpp-python gguf onnxruntime-genai onnx-ir openvino openvino-genai
    python bench/cpu_peers.py
    python bench/cpu_peers.py --threads 1 -o bench/results/cpu_peers.json

All start from one random checkpoint (hidden 512, 8 layers, vocabulary 32,000), in FP32 and in 4 bits, head included.
All have the same number of threads. The repeats of all of them are interleaved after an untimed one of each, and the
medians are printed. Loading is not timed. On a machine with other work, `--processor-time --threads 1` compares the
processor time of one thread. A library that is not installed, or that cannot take the model, is named with
the reason. The `quantize` extra is required.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import peer_engines
from peer_engines import PEERS, Run, Timed, Tokens

from nld_trt.decode.batch import Batch
from nld_trt.decode.request import Request
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.ort.session import OrtSession
from nld_trt.graph.contract import Limits
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.ministral3 import export_ministral3
from nld_trt.model.synthetic import Geometry, write_synthetic
from nld_trt.quantization.plan import make_plan
from nld_trt.quantization.quantize import quantize
from nld_trt.quantization.recipe import Recipe

GEOMETRY = Geometry(
    hidden_size=512,
    intermediate_size=1536,
    num_hidden_layers=8,
    num_attention_heads=8,
    num_key_value_heads=2,
    head_dim=64,
    vocab_size=32000,
    rope_theta=1e6,
)
OURS = "nld-trt"
PRECISIONS = ("fp32", "4 bits")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--prompt-tokens", type=int, default=256)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--processor-time", action="store_true", help="time with the processor's clock, in one thread")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    if arguments.processor_time:
        if arguments.threads != 1:
            parser.error("--processor-time needs --threads 1: threads that wait would count")
        peer_engines.clock = time.process_time

    missing: dict[str, str] = {}
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = prepare(Path(folder))
        for precision in PRECISIONS:
            runs = open_all(Path(folder), checkpoints, precision, arguments, missing)
            figures[precision] = compare(runs, arguments)
            # The thread pools of one precision must not run beside the other's.
            runs.clear()
    result = {
        "command": " ".join(["python", *sys.argv]),
        "timed": f"prefill of {arguments.prompt_tokens} tokens, then {arguments.new_tokens - 1} greedy ones, one row",
        "clock": "processor time" if arguments.processor_time else "wall time",
        "threads": arguments.threads,
        "repeats": arguments.repeats,
        "figures": figures,
        "missing": missing,
        "python": platform.python_version(),
        "cpu": f"{cpu_name()}, {os.cpu_count()} cores",
        # Other work on the machine slows all of them: it affects the milliseconds more than the ratios.
        "load_average": round(os.getloadavg()[0], 1),
        "versions": versions(),
    }
    print_table(figures, missing)
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")


def prepare(folder: Path) -> dict[str, Checkpoint]:
    """The checkpoint of each precision; `ministral3` is left in ``folder`` for the others."""
    write_synthetic(GEOMETRY, folder / "release", seed=1)
    convert(folder / "release", folder / "converted")
    checkpoint = Checkpoint.open_converted(folder / "converted")
    export_ministral3(checkpoint, folder / "ministral3")
    plan = make_plan(Recipe.shipped("int4_rtn"), checkpoint.config, head=True)
    quantize(checkpoint, plan, folder / "int4", calibration=None)
    return {"fp32": checkpoint, "4 bits": Checkpoint.open_converted(folder / "int4")}


def open_all(
    folder: Path,
    checkpoints: dict[str, Checkpoint],
    precision: str,
    arguments: argparse.Namespace,
    missing: dict[str, str],
) -> dict[str, Run]:
    """Every engine that can be opened, by name. The others go to ``missing``, with the reason."""
    runs = {OURS: open_ours(checkpoints[precision], folder / f"engine {precision}", arguments.threads)}
    for name in arguments.peers:
        peer = PEERS[name]
        try:
            importlib.import_module(peer.module)
            if precision == "fp32" and not peer.has_fp32:
                raise ValueError("it has no FP32 weights")
            run = peer.open(folder / "ministral3", folder, precision, arguments.threads)
            run(prompt_of(arguments), 4)
        except ImportError as error:
            missing[name] = f"not installed ({error}): pip install {peer.package}"
        # Whatever a library raises for a model that it cannot take.
        except Exception as error:
            missing[f"{name}, {precision}"] = f"{type(error).__name__}: {str(error).strip()[-300:]}"
        else:
            runs[name] = run
    return runs


def open_ours(checkpoint: Checkpoint, folder: Path, threads: int) -> Run:
    build_engine(checkpoint, [BuildPlan("ort", "fp32", Limits(8, 992, 32, 512), adapter=True)], folder)
    opened = EngineFolder.open(folder)
    model = folder / opened.manifest.backends["ort"].files["model"]
    batch = Batch(OrtSession(model, opened.info("ort"), threads))

    def run(prompt: Tokens, count: int) -> Timed:
        request = Request(tuple(prompt), mode="ar", max_new_tokens=count, eos_token_id=-1, temperature=0.0)
        began = peer_engines.clock()
        row = batch.submit(request)
        while not row.emitted:
            batch.step()
        first = peer_engines.clock()
        while batch.busy:
            batch.step()
        return Timed(row.emitted, first - began, peer_engines.clock() - first)

    return run


def prompt_of(arguments: argparse.Namespace) -> Tokens:
    return [int(token) for token in np.random.default_rng(0).integers(200, 31000, arguments.prompt_tokens)]


def compare(runs: dict[str, Run], arguments: argparse.Namespace) -> dict[str, dict[str, object]]:
    """Medians of each engine, and ours as a multiple of its speed from the same turns."""
    prompt, count = prompt_of(arguments), arguments.new_tokens
    found: dict[str, list[Timed]] = {name: [] for name in runs}
    for turn in range(arguments.repeats + 1):
        for name, run in runs.items():
            made = run(prompt, count)
            if turn:
                found[name].append(made)
    ours = found[OURS]
    return {
        name: {
            "ms_per_token": round(statistics.median(each.rest for each in turns) / (count - 1) * 1e3, 3),
            "prefill_ms": round(statistics.median(each.first for each in turns) * 1e3, 2),
            "ours_is_times_as_fast": round(
                statistics.median(b.rest / a.rest for a, b in zip(ours, turns, strict=True)), 2
            ),
            "ours_is_times_as_fast_in_prefill": round(
                statistics.median(b.first / a.first for a, b in zip(ours, turns, strict=True)), 2
            ),
            "same_tokens": sum(a == b for a, b in zip(ours[0].tokens, turns[0].tokens, strict=True)),
        }
        for name, turns in found.items()
    }


def print_table(figures: dict[str, dict[str, dict[str, object]]], missing: dict[str, str]) -> None:
    print(f"{'':8}{'':20}{'ms/token':>10}{'prefill ms':>12}{'ours, AR':>10}{'ours, prefill':>15}")
    for precision, engines in figures.items():
        for name, values in engines.items():
            ms, prefill, ratio, ahead, _ = values.values()
            print(f"{precision:8}{name:20}{ms:>10}{prefill:>12}{ratio:>9}x{ahead:>14}x")
    for name, reason in missing.items():
        print(f"missing: {name}: {reason}")


def versions() -> dict[str, str]:
    found = {}
    for package in ("onnxruntime", *(peer.package for peer in PEERS.values()), "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def cpu_name() -> str:
    """The processor's own name where the system says it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()

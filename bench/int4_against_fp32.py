# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Compare forwards of an INT4 engine with the FP32 engine of the same checkpoint, on ONNX Runtime's CPU kernels.

    python bench/int4_against_fp32.py
    python bench/int4_against_fp32.py -o bench/results/int4_against_fp32.json

Both start from one random checkpoint (hidden 1024, 12 layers): the FP32 engine from `convert` and `build`, the
INT4 one from `quantize --qformat int4_rtn` as well, with the recipe's group size. The INT4 engine is opened in two
ways: with the defaults, where the 4-bit kernels round activations to 8 bits, and exact, with float32 activations.
One forward of 1, 8 and 32 new tokens of one row on a cache of 512 slots is timed, with repeats of all engines
interleaved after untimed ones. Loading is not timed. The head has 4096 rows and is in FP32 in all engines. The
`quantize` extra is required.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.ort.session import OrtSession
from nld_trt.engine.session import execute
from nld_trt.graph.contract import Limits
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.synthetic import Geometry, write_synthetic
from nld_trt.quantization.plan import make_plan
from nld_trt.quantization.quantize import quantize
from nld_trt.quantization.recipe import Recipe

GEOMETRY = Geometry(
    hidden_size=1024,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=16,
    num_key_value_heads=4,
    head_dim=64,
    vocab_size=4096,
    rope_theta=1e6,
)
LIMITS = Limits(max_batch_size=1, max_seq_len=480, max_block_length=32, prompt_chunk=64)
CACHED = 256
UNTIMED = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--threads", type=int, default=0, help="0: every physical core")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        sessions, sizes = prepare(Path(folder), arguments.threads)
    widths = {width: compare(sessions, width, arguments.repeats) for width in arguments.widths}
    result = {
        "command": " ".join(["python", *sys.argv]),
        "timed": f"one forward of one row, {CACHED} of {LIMITS.capacity} cache slots filled; milliseconds",
        "widths": widths,
        "weight_megabytes": {name: round(size / 1e6, 1) for name, size in sizes.items()},
        "repeats": arguments.repeats,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        # Other work on the machine slows all engines: it affects the milliseconds more than the ratios.
        "load_average": round(os.getloadavg()[0], 1),
        "versions": {name: version(name) for name in ("onnxruntime", "nvidia-modelopt", "numpy")},
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")


def prepare(folder: Path, threads: int) -> tuple[dict[str, OrtSession], dict[str, int]]:
    """Open the sessions that are compared. Returns them with the bytes of each engine's weights."""
    write_synthetic(GEOMETRY, folder / "release", seed=1)
    convert(folder / "release", folder / "converted")
    checkpoint = Checkpoint.open_converted(folder / "converted")
    plan = make_plan(Recipe.shipped("int4_rtn"), checkpoint.config, head=False)
    quantize(checkpoint, plan, folder / "int4", calibration=None)
    sizes = {}
    models = {}
    for name, source in (("fp32", checkpoint), ("int4", Checkpoint.open_converted(folder / "int4"))):
        target = folder / f"engine-{name}"
        build_engine(source, [BuildPlan("ort", "fp32", LIMITS, adapter=True)], target)
        opened = EngineFolder.open(target)
        models[name] = target / opened.manifest.backends["ort"].files["model"], opened.info("ort")
        sizes[name] = opened.manifest.files["ort/model.weights"].size
    ways = {"fp32": ("fp32", False), "int4": ("int4", False), "int4 exact": ("int4", True)}
    return {name: OrtSession(*models[model], threads, exact=exact) for name, (model, exact) in ways.items()}, sizes


def compare(sessions: dict[str, OrtSession], width: int, repeats: int) -> dict[str, object]:
    """Measure each session: median and best milliseconds, and its speed as a multiple of FP32's."""
    steps = {name: filled(session, width) for name, session in sessions.items()}
    milliseconds: dict[str, list[float]] = {name: [] for name in sessions}
    for turn in range(UNTIMED + repeats):
        for name, session in sessions.items():
            started = time.perf_counter()
            execute(session, steps[name])
            if turn >= UNTIMED:
                milliseconds[name].append((time.perf_counter() - started) * 1e3)
    medians = {name: statistics.median(values) for name, values in milliseconds.items()}
    return {
        "median": {name: round(value, 2) for name, value in medians.items()},
        "best": {name: round(min(values), 2) for name, values in milliseconds.items()},
        "times_as_fast_as_fp32": {
            name: round(statistics.median(a / b for a, b in zip(milliseconds["fp32"], values, strict=True)), 2)
            for name, values in milliseconds.items()
            if name != "fp32"
        },
    }


def filled(session: OrtSession, width: int):
    """Prepare the buffers of a causal forward that computes logits of every new token, as a verify pass does."""
    session.reserve(1, LIMITS.capacity)
    step = session.step(1, width, width)
    step.inputs["tokens"][:] = np.random.default_rng(0).integers(200, 4000, width)
    step.inputs["cache_length"][:] = CACHED
    step.inputs["valid_count"][:] = width
    step.inputs["causal"][:] = True
    step.inputs["logit_rows"][:] = np.arange(width)
    return step


if __name__ == "__main__":
    main()

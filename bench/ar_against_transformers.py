# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Compare AR decoding on the embedded engine with the eager ``generate`` of transformers: same weights, same tokens.

    python bench/ar_against_transformers.py

Both start from one random checkpoint (hidden 512, 8 layers, FP32): the engine from `convert` and `build`, the
transformers model from `convert --to ministral3`. Prefill and greedy decoding of one prompt are timed, with repeats of
the two interleaved after an untimed run of each. Loading is not timed. The `dev` extra is required.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.graph.contract import Limits
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.ministral3 import export_ministral3
from nld_trt.model.synthetic import Geometry, write_synthetic

GEOMETRY = Geometry(
    hidden_size=512,
    intermediate_size=1536,
    num_hidden_layers=8,
    num_attention_heads=8,
    num_key_value_heads=2,
    head_dim=64,
    vocab_size=4096,
    rope_theta=1e6,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    transformers_logging.set_verbosity_error()

    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = prepare(Path(folder))
    prompt = tuple(int(token) for token in np.random.default_rng(0).integers(200, 4000, arguments.prompt_tokens))

    def run_ours() -> list[int]:
        request = Request(prompt, mode="ar", max_new_tokens=arguments.new_tokens, eos_token_id=-1, temperature=0.0)
        return next(iter(generate(ours, [request])))[1].output_ids

    def run_theirs() -> list[int]:
        ids = torch.tensor([prompt])
        with torch.inference_mode():
            output = theirs.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=arguments.new_tokens,
                min_new_tokens=arguments.new_tokens, do_sample=False, pad_token_id=0,
            )  # fmt: skip
        return output[0, len(prompt) :].tolist()

    tokens = run_ours(), run_theirs()
    seconds: dict[str, list[float]] = {"nld-trt ort": [], "transformers eager": []}
    for _ in range(arguments.repeats):
        for name, run in zip(seconds, (run_ours, run_theirs), strict=True):
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    rates = {name: arguments.new_tokens / statistics.median(values) for name, values in seconds.items()}
    ratios = [b / a for a, b in zip(*seconds.values(), strict=True)]
    print(
        json.dumps(
            {
                "same_tokens": tokens[0] == tokens[1],
                "tokens_per_second": {name: round(rate, 1) for name, rate in rates.items()},
                "ratio_median": round(statistics.median(ratios), 2),
                "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
                "prompt_tokens": arguments.prompt_tokens,
                "new_tokens": arguments.new_tokens,
                "repeats": arguments.repeats,
                "machine": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads",
                "versions": {name: version(name) for name in ("onnxruntime", "torch", "transformers")},
            },
            indent=2,
        )
    )


def prepare(folder: Path) -> tuple[Batch, torch.nn.Module]:
    """Load the engine and the transformers model that are compared."""
    write_synthetic(GEOMETRY, folder / "release", seed=1)
    convert(folder / "release", folder / "converted")
    checkpoint = Checkpoint.open_converted(folder / "converted")
    plan = BuildPlan("ort", "fp32", Limits(1, 1024, 32, 512), adapter=True)
    build_engine(checkpoint, [plan], folder / "engine")
    export_ministral3(checkpoint, folder / "ministral3")
    model = AutoModelForCausalLM.from_pretrained(
        folder / "ministral3", dtype=torch.float32, attn_implementation="eager"
    ).eval()
    return Batch(EngineFolder.open(folder / "engine").open_session("ort")), model


if __name__ == "__main__":
    main()

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Acceptance length and tokens per forward of the speculative modes and rules, over temperatures, on nld-tiny.

    PYTHONPATH=. python bench/acceptance.py -o bench/results/acceptance.json

No GPU is needed. ``trained``: the 200 held-out questions in the chat template, which the model has learnt to answer.
``untrained``: the same questions without the template, where few drafts are accepted. Every question is answered with
several seeds and to the full length, so that every setting is measured over the same number of tokens. The figures are
counts, not times.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.graph.contract import Limits
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.text.codec import Codec

SOURCE = Path("examples/nld-tiny")
LIMITS = Limits(max_batch_size=32, max_seq_len=512, max_block_length=32, prompt_chunk=128, max_quadratic_length=16)
WAYS = {
    "linear 16, match": {"mode": "linear", "block_length": 16, "acceptance": "match"},
    "linear 16, reject": {"mode": "linear", "block_length": 16, "acceptance": "reject"},
    "linear 32, match": {"mode": "linear", "block_length": 32, "acceptance": "match"},
    "quadratic 8": {"mode": "quadratic", "block_length": 8},
    "quadratic 16": {"mode": "quadratic", "block_length": 16},
    "quadratic 16, masks without adapter": {"mode": "quadratic", "block_length": 16, "lora": False},
}
RULES = ("linear 16, match", "linear 16, reject")
TEMPERATURES = (0.5, 0.8, 1.0, 1.5)
TOKENS = 64


def measure(batch: Batch, prompts: list[tuple[int, ...]], seeds: int, settings: dict) -> dict[str, float]:
    requests = [
        Request(prompt, max_new_tokens=TOKENS, eos_token_id=-1, seed=seed * 10_000 + number, **settings)
        for seed in range(seeds)
        for number, prompt in enumerate(prompts)
    ]
    results = [result for _, result in generate(batch, requests)]
    lengths = [np.mean(result.accepted) for result in results]
    tokens, forwards = (sum(values) for values in zip(*((len(r.output_ids), r.nfe) for r in results), strict=True))
    rounds = [count for result in results for count in result.accepted]
    return {
        "acceptance_length": round(float(np.mean(rounds)), 3),
        # The standard error of the mean over answers, because answers are independent of each other and rounds are not.
        "standard_error": round(float(np.std(lengths) / len(lengths) ** 0.5), 3),
        "tokens_per_forward": round(tokens / forwards, 3),
        "answers": len(results),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        convert(SOURCE, Path(folder, "checkpoint"))
        checkpoint = Checkpoint.open_converted(Path(folder, "checkpoint"))
        plan = BuildPlan("ort", "fp32", LIMITS, adapter=True)
        build_engine(checkpoint, [plan], Path(folder, "engine"))
        engine = EngineFolder.open(Path(folder, "engine"))
        codec, batch = Codec.open(engine.path), Batch(engine.open_session("ort"))
        lines = (SOURCE / "eval.jsonl").read_text(encoding="utf-8").splitlines()[: arguments.questions]
        questions = [json.loads(line)["prompt"] for line in lines]
        kinds = {
            "trained": [codec.encode_prompt(question) for question in questions],
            "untrained": [tuple(codec.encode(question)) for question in questions],
        }
        found: dict[str, object] = {
            "command": " ".join(["python", *sys.argv]),
            "versions": {"python": platform.python_version(), "onnxruntime": onnxruntime.__version__},
            "engine": "nld-tiny, ort, fp32",
        }
        for kind, prompts in kinds.items():
            greedy = {name: measure(batch, prompts, 1, way) for name, way in WAYS.items() if "reject" not in name}
            warm = {
                name: {
                    str(temperature): measure(
                        batch, prompts, arguments.seeds, {**WAYS[name], "temperature": temperature}
                    )
                    for temperature in TEMPERATURES
                }
                for name in RULES
            }
            found[kind] = {"greedy": greedy, "temperature": warm}
    text = json.dumps(found, indent=2)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

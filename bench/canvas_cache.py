# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a block cache costs and saves: tokens that stay the same, and tokens that passes compute, with and without it.

    PYTHONPATH=. python bench/canvas_cache.py -o bench/results/canvas_cache.json

No GPU is needed. The models are of the families that see the whole canvas, with two layers of random weights: that
tokens part there says that the cache is no exact one, and nothing of how often trained models would. ``first_block``
counts the first 16 tokens of each answer, before which nothing has parted. The figures are counts, not times.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime

from nld_trt.decode.batch import Batch
from nld_trt.decode.request import Request
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.session import Session
from nld_trt.graph.contract import Limits
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from tests.canvas_models import CANVAS, EOS, make_canvas_model

LONGEST, TOKENS, BLOCK, PROMPTS = 160, 96, 16, 64
LIMITS = Limits(4, LONGEST, BLOCK, LONGEST, max_canvas_length=LONGEST)
WAYS: dict[str, dict[str, Any]] = {
    "one token per pass": {"threshold": None},
    "4 passes per block": {"threshold": None, "steps": 4},
    "threshold 0.05": {"threshold": 0.05},
}


def decode(session: Session, requests: Sequence[Request]) -> tuple[list[list[int]], int]:
    """The answers, and the tokens that all passes have computed, padding excluded."""
    batch = Batch(session)
    rows = [batch.submit(request) for request in requests]
    computed = 0
    widths = {row.number: row.pending.width for row in rows}
    while batch.busy:
        for emission in batch.step():
            computed += widths[emission.row.number]
            widths[emission.row.number] = emission.row.pending.width
    return [row.emitted for row in rows], computed


def measure(session: Session, requests: Sequence[Request]) -> dict[str, float]:
    exact, all_tokens = decode(session, requests)
    cached, fewer_tokens = decode(session, [replace(request, block_cache=True) for request in requests])

    def same(length: int) -> float:
        pairs = [
            one == other
            for pair in zip(exact, cached, strict=True)
            for one, other in zip(*(answer[:length] for answer in pair), strict=True)
        ]
        return round(sum(pairs) / len(pairs), 3)

    return {
        "same_tokens": same(TOKENS),
        "same_tokens_first_block": same(BLOCK),
        "tokens_computed_over_those_without": round(fewer_tokens / all_tokens, 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    rng = random.Random(1)
    prompts = [tuple(rng.randrange(EOS) for _ in range(rng.randint(8, 60))) for _ in range(PROMPTS)]
    found: dict[str, Any] = {"python": platform.python_version(), "onnxruntime": onnxruntime.__version__}
    for name in CANVAS:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            make_canvas_model(name, place / "release")
            convert(place / "release", place / "converted")
            plan = BuildPlan("ort", "fp32", LIMITS, adapter=False)
            build_engine(Checkpoint.open_converted(place / "converted"), [plan], place / "engine")
            session = EngineFolder.open(place / "engine").open_session("ort")
            found[name] = {
                way: measure(
                    session,
                    [
                        Request(prompt, max_new_tokens=TOKENS, block_length=BLOCK, eos_token_id=-1, **settings)
                        for prompt in prompts
                    ],
                )
                for way, settings in WAYS.items()
            }
    text = json.dumps(found, indent=2)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

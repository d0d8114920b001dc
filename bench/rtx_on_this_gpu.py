# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Check whether TensorRT for RTX runs its plans on this GPU: a portable plan, and one for each target of the library.

    PYTHONPATH=. python bench/rtx_on_this_gpu.py build plans                # anywhere, no GPU
    PYTHONPATH=. python bench/rtx_on_this_gpu.py run plans -o result.json   # on the GPU

`nld-trt` runs a plan only on GPUs for which it was built. This script loads plans of nld-tiny in BF16 on any GPU, each
in a separate process, and decodes questions in every mode. It reports which plans load, which run, whether linear gives
the text of AR, and how many answers equal those of the embedded engine in FP32 (BF16 can break near ties differently).
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.session import EngineInfo, Session
from nld_trt.engine.trt.flavour import TRT_RTX
from nld_trt.graph.contract import Limits
from nld_trt.model.config import ModelConfig
from nld_trt.names import NLD_MODES

SOURCE = Path("examples/nld-tiny")
LIMITS = Limits(max_batch_size=8, max_seq_len=512, max_block_length=32, prompt_chunk=128, max_quadratic_length=8)
PLAN = BuildPlan(TRT_RTX.name, "bf16", LIMITS, adapter=True)
PORTABLE = "portable"
QUESTIONS, TOKENS = 8, 64
EXPECTED = "expected.json"


def answers(session: Session, prompts: list[list[int]]) -> dict[str, list[list[int]]]:
    """Answer all questions in one batch, once in each mode. Returns the tokens of every answer, by mode."""
    found = {}
    for mode in NLD_MODES:
        requests = [
            Request(tuple(prompt), mode, max_new_tokens=TOKENS, threshold=0.9 if mode == "diffusion" else 0.0)
            for prompt in prompts
        ]
        results = dict(generate(Batch(session), requests))
        found[mode] = [results[index].or_raise().output_ids for index in range(len(prompts))]
    return found


def build(folder: Path) -> None:
    from nld_trt.engine.build import build_engine
    from nld_trt.engine.folder import EngineFolder
    from nld_trt.engine.trt import compile as trt_build
    from nld_trt.graph.export import write_graph
    from nld_trt.graph.precision import PRECISIONS
    from nld_trt.model.checkpoint import Checkpoint
    from nld_trt.model.convert import convert
    from nld_trt.model.text.codec import Codec

    folder.mkdir(parents=True, exist_ok=True)
    trt = TRT_RTX.load()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        convert(SOURCE, work / "checkpoint")
        checkpoint = Checkpoint.open(work / "checkpoint")
        embedded = replace(PLAN, backend="ort", precision="fp32")
        build_engine(checkpoint, [embedded], work / "engine")
        engine = EngineFolder.open(work / "engine")
        codec = Codec.open(engine.path)
        assert codec is not None
        lines = (SOURCE / "eval.jsonl").read_text(encoding="utf-8").splitlines()[:QUESTIONS]
        prompts = [list(codec.encode_prompt(json.loads(line)["prompt"])) for line in lines]
        expected = {
            "config": json.loads((work / "checkpoint" / "config.json").read_text(encoding="utf-8")),
            "prompts": prompts,
            "answers": answers(engine.open_session("ort"), prompts),
        }
        (folder / EXPECTED).write_text(json.dumps(expected), encoding="utf-8")
        model = write_graph(
            checkpoint,
            work,
            precision=PRECISIONS[PLAN.precision],
            limits=LIMITS,
            adapter=True,
            static_capacity=True,
            dialect="tensorrt",
        )
        for name in (PORTABLE, *TRT_RTX.targets):
            targets = () if name == PORTABLE else (name,)
            parsed = trt_build.parse_network(trt, model)
            plan = replace(PLAN, compute_capabilities=targets)
            trt_build.compile_plan(parsed, TRT_RTX, plan, checkpoint.config, folder / f"{name}.plan")
            print(f"{name}: {(folder / f'{name}.plan').stat().st_size} bytes", file=sys.stderr)


def run_one(path: Path) -> dict[str, object]:
    from nld_trt.engine.trt.executor import open_session

    expected = json.loads((path.parent / EXPECTED).read_text(encoding="utf-8"))
    info = EngineInfo(ModelConfig.from_hf(expected["config"]), LIMITS, TRT_RTX.name, PLAN.precision, has_adapter=True)
    found = answers(open_session(TRT_RTX, path, info), expected["prompts"])
    return {
        "runs": True,
        "linear_equals_ar": found["linear"] == found["ar"],
        "quadratic_equals_ar": found["quadratic"] == found["ar"],
        "answers_as_embedded_fp32": {
            mode: sum(map(list.__eq__, found[mode], expected["answers"][mode])) for mode in NLD_MODES
        },
    }


def run(folder: Path, script: str) -> dict[str, object]:
    from nld_trt.machine.gpu import present_gpus

    plans = {}
    for path in sorted(folder.glob("*.plan")):
        done = subprocess.run(
            [sys.executable, script, "run-one", str(path)], capture_output=True, text=True, encoding="utf-8"
        )
        last = done.stdout.strip().splitlines()[-1:] if done.returncode == 0 else []
        error = {"runs": False, "exit": done.returncode, "error": done.stderr.strip().splitlines()[-8:]}
        plans[path.stem] = json.loads(last[0]) if last else error
    return {
        "command": "python bench/rtx_on_this_gpu.py run",
        "gpus": [asdict(gpu) for gpu in present_gpus()],
        "tensorrt_rtx": TRT_RTX.load().__version__,
        "python": platform.python_version(),
        "questions": QUESTIONS,
        "plans": plans,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("build", "run", "run-one"))
    parser.add_argument("path", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.task == "build":
        build(options.path)
        return
    result = run_one(options.path) if options.task == "run-one" else run(options.path, sys.argv[0])
    text = json.dumps(result, indent=None if options.task == "run-one" else 2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

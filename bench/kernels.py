# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The CUDA kernels of the decode operators against the same step in PyTorch, eager and compiled.

    PYTHONPATH=. python bench/kernels.py -o bench/results/kernels.json

Needs an NVIDIA GPU, PyTorch with CUDA, and NVRTC, which PyTorch brings; `nld-trt bench kernels` times the kernels alone
and needs no PyTorch. It has not been run: where it was written, there was no GPU.

Both sides do a greedy step in BF16 on the same tensors, recorded as a CUDA graph of REPEATS steps and timed by events.
The kernels' step also verifies, which PyTorch's does not. ``cold`` goes round copies of the logits that do not fit in
the L2 cache together, ``warm`` reads one again and again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from nld_trt.engine.gpu import present_gpus
from nld_trt.engine.kernels import measure
from nld_trt.engine.kernels.cases import MASK, case
from nld_trt.engine.kernels.driver import Driver, Kernels
from nld_trt.engine.kernels.image import compile_kernels
from nld_trt.engine.kernels.launch import checked_sizes
from nld_trt.engine.kernels.spec import DECODE_STEP, LOGIT_STATISTICS, TENSORS

Values = dict[str, torch.Tensor]


def denoise_in_torch(values: Values) -> Values:
    """BlockDenoise, greedily, as one writes it in PyTorch."""
    logits = values["logits"].float()
    allowed = logits.clone()
    allowed[..., MASK] = -torch.inf
    best, choice = allowed.max(-1)
    share = (best - logits.logsumexp(-1)).exp()
    slots = torch.arange(share.shape[1], device=share.device)
    masked = (values["block"] == MASK) & (slots < values["valid"][:, None])
    confidence = torch.where(masked, share, -1.0)
    ahead = confidence[:, None, :] > confidence[:, :, None]
    ahead |= (confidence[:, None, :] == confidence[:, :, None]) & (slots[None, :] < slots[:, None])
    chosen = (ahead.sum(-1) < values["quota"][:, None]) | (confidence >= values["threshold"][:, None])
    commit = masked & chosen
    tokens = torch.where(commit, choice.int(), values["block"])
    return {"block_tokens": tokens, "confidence": confidence, "masks_left": (masked & ~commit).sum(-1).int()}


def time_in_torch(step: Callable[[int], object]) -> measure.Times:
    """As ``measure.time``, on PyTorch's stream."""
    step(0)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for index in range(measure.REPEATS):
            step(index)
    times = []
    for _ in range(measure.SAMPLES + 1):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1000 / measure.REPEATS)
    return measure.Times(round(statistics.median(times[1:]), 2), round(min(times[1:]), 2))


def compare(kernels: Kernels, shape: tuple[int, int, int], rate: float) -> dict[str, object]:
    sizes = checked_sizes(*shape)
    host = case(1, *shape[1:], "bf16")
    values: Values = {}
    for name, array in host.items():
        kind = torch.bfloat16 if name == "logits" else getattr(torch, TENSORS[name].dtype)
        values[name] = torch.tensor(np.repeat(array, shape[0], 0)).to(kind).cuda()
    for operator in (LOGIT_STATISTICS, DECODE_STEP):
        for name in operator.outputs:
            values[name] = torch.empty(sizes.shape(name), dtype=getattr(torch, TENSORS[name].dtype), device="cuda")
    size = values["logits"].nbytes
    count = min(measure.REPEATS - 1, measure.L2_TIMES * kernels.driver.l2_bytes // size)
    copies = [values["logits"], *(values["logits"].clone() for _ in range(count))]
    addresses = {name: value.data_ptr() for name, value in values.items()}
    compiled = torch.compile(denoise_in_torch, dynamic=False)

    def own(logits: torch.Tensor) -> None:
        given = addresses | {"logits": logits.data_ptr()}
        for operator in (LOGIT_STATISTICS, DECODE_STEP):
            kernels.launch(operator, sizes, given, "bf16", MASK)

    contestants = {
        "kernels": (lambda step: measure.time(kernels.driver, step), own),
        "eager": (time_in_torch, lambda logits: denoise_in_torch(values | {"logits": logits})),
        "torch.compile": (time_in_torch, lambda logits: compiled(values | {"logits": logits})),
    }
    found: dict[str, object] = {
        "logit_bytes": size,
        "floor_us": round(size / rate, 2),
        "copies": len(copies),
        "same_tokens": same_tokens(kernels, own, values),
    }
    for name, (timed, work) in contestants.items():
        found[name] = {
            "cold_us": asdict(timed(lambda index, it=work: it(copies[index % len(copies)]))),
            "warm_us": asdict(timed(lambda index, it=work: it(copies[0]))),
        }
    return found


def same_tokens(kernels: Kernels, own: Callable[[torch.Tensor], None], values: Values) -> bool:
    expected = denoise_in_torch(values)
    torch.cuda.synchronize()
    own(values["logits"])
    kernels.driver.wait()
    return torch.equal(values["block_tokens"], expected["block_tokens"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()

    gpu, *_ = present_gpus() or parser.error("no NVIDIA GPU, or no driver that answers")
    torch.zeros(1, device="cuda")  # makes the context that both sides share
    image = compile_kernels(gpu.compute_capability)
    kernels = Kernels(Driver(), image)
    wrong = measure.problems(kernels)
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 1
    rate = measure.copy_rate(kernels.driver)
    result = {
        "command": " ".join(["python", *sys.argv]),
        "device": f"{gpu.name} ({gpu.compute_capability})",
        "clocks_before": measure.clocks(),
        "versions": {"torch": torch.__version__, "cuda": torch.version.cuda, "compiler": image.compiler},
        "copy_gigabytes_per_second": round(rate / 1000, 1),
        "timed": {" x ".join(map(str, shape)): compare(kernels, shape, rate) for shape in measure.TIMED},
        "clocks_after": measure.clocks(),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

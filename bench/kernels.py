# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Compare the CUDA kernels of the decode operators with the same step in PyTorch, eager and compiled.

    PYTHONPATH=. python bench/kernels.py -o bench/results/kernels.json

An NVIDIA GPU, PyTorch with CUDA, and NVRTC are required; `nld-trt bench kernels` times only the kernels and needs no
PyTorch. It was run on an H200 with an earlier form of the kernels, without the one of the next pass; docs/plugins.md
has those times. The kernels as they are now have not been timed.

Both sides run a greedy denoise step in BF16, over a block of masks, on the same tensors; the step of the kernels also
verifies, which PyTorch's does not, and is timed once more with the kernel that prepares the next pass. Both are
recorded as CUDA graphs and timed in the same way, which nld_trt/measure/kernels/timing.py describes. ``cold`` cycles
through copies of the logits, enough that 4 times the L2 cache is read before a copy is read again; ``warm`` reads one
copy repeatedly. The exit status is 1 if the kernels compute wrong results or commit other tokens than PyTorch.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nld_trt.engine.gpu.kernels.image import compile_kernels
from nld_trt.engine.gpu.kernels.launch import checked_sizes
from nld_trt.engine.gpu.kernels.launcher import Kernels, open_device
from nld_trt.engine.gpu.kernels.spec import DECODE_STEP, LOGIT_STATISTICS, OPERATORS, TENSORS, Operator
from nld_trt.machine.gpu import driver_cuda_version, present_gpus
from nld_trt.measure.kernels import check, targets
from nld_trt.measure.kernels import times as measure
from nld_trt.measure.kernels.bandwidth import Bandwidth, Memory, compile_bandwidth
from nld_trt.measure.kernels.cases import MASK
from nld_trt.measure.kernels.tensors import advance, step
from nld_trt.measure.kernels.timing import Times, Work, copies_beyond, time, time_recorded

Values = dict[str, torch.Tensor]


def denoise_in_torch(values: Values) -> Values:
    """Compute a greedy BlockDenoise with plain PyTorch operations."""
    logits = values["logits"].float()
    allowed = logits.clone()
    allowed[..., MASK] = -torch.inf
    best, choice = allowed.max(-1)
    probability = (best - logits.logsumexp(-1)).exp()
    slots = torch.arange(probability.shape[1], device=probability.device)
    masked = (values["block"] == MASK) & (slots < values["valid"][:, None])
    confidence = torch.where(masked, probability, -1.0)
    ahead = confidence[:, None, :] > confidence[:, :, None]
    ahead |= (confidence[:, None, :] == confidence[:, :, None]) & (slots[None, :] < slots[:, None])
    chosen = (ahead.sum(-1) < values["quota"][:, None]) | (confidence >= values["threshold"][:, None])
    commit = masked & chosen
    tokens = torch.where(commit, choice.int(), values["block"])
    return {"block_tokens": tokens, "confidence": confidence, "masks_left": (masked & ~commit).sum(-1).int()}


def recorded_in_torch(calls: Callable[[], object]) -> Callable[[], float]:
    """Record ``calls`` as a CUDA graph on PyTorch's stream. Returns a function that replays it and times that."""
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        calls()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def milliseconds() -> float:
        graph.replay()
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end)

    return milliseconds


def time_in_torch(work: Work, *, copies: int = 1) -> Times:
    work(0)
    return time_recorded(recorded_in_torch, work, copies=copies)


def on_gpu(shape: tuple[int, int, int]) -> Values:
    """Allocate, on the GPU, the inputs of a denoise step and the tensors that the kernels write."""
    sizes = checked_sizes(*shape)
    values: Values = {}
    for name, array in measure.timed_case(shape, "denoise", "greedy").items():
        kind = torch.bfloat16 if name == "logits" else getattr(torch, TENSORS[name].dtype)
        rows = np.repeat(array, shape[0] // len(array), 0)
        values[name] = torch.tensor(rows).to(kind).cuda()
    for operator in OPERATORS.values():
        for name in operator.outputs:
            values[name] = torch.empty(sizes.shape(name), dtype=getattr(torch, TENSORS[name].dtype), device="cuda")
    return values


def compare(kernels: Kernels, target: targets.Target, bandwidth: Bandwidth) -> dict[str, Any]:
    sizes, values = checked_sizes(*target.shape), on_gpu(target.shape)
    size = values["logits"].nbytes
    count = copies_beyond(measure.L2_TIMES * kernels.device.l2_bytes, size)
    logits = [values["logits"], *(values["logits"].clone() for _ in range(count - 1))]
    addresses = {name: value.data_ptr() for name, value in values.items()}
    compiled = torch.compile(denoise_in_torch, dynamic=False)
    torch.cuda.synchronize()

    def own(logits: torch.Tensor, *operators: Operator) -> None:
        given = addresses | {"logits": logits.data_ptr()}
        for operator in operators or (LOGIT_STATISTICS, DECODE_STEP):
            kernels.launch(operator, sizes, given, "bf16", MASK)

    def with_next_pass(logits: torch.Tensor) -> None:
        own(logits, *OPERATORS.values())

    def time_own(work: Work, *, copies: int = 1) -> Times:
        return time(kernels.device, work, copies=copies)

    contestants = {
        "kernels": (time_own, own),
        "kernels with the next pass": (time_own, with_next_pass),
        "eager": (time_in_torch, lambda logits: denoise_in_torch(values | {"logits": logits})),
        "torch.compile": (time_in_torch, lambda logits: compiled(values | {"logits": logits})),
    }
    floor = round(bandwidth.microseconds(size), 2)
    found: dict[str, Any] = {
        "logit_bytes": size,
        "floor_us": floor,
        "copies_of_the_logits": count,
        "same_tokens": same_tokens(kernels, own, values),
    }
    for name, (timed, work) in contestants.items():
        found[name] = {
            "cold_us": asdict(timed(lambda index, it=work: it(logits[index % count]), copies=count)),
            "warm_us": asdict(timed(lambda index, it=work: it(logits[0]))),
        }
    cold = {name: found[name]["cold_us"]["median"] for name in contestants}
    found["targets"] = [targets.of_the_floor(target, floor, cold["kernels"]), *targets.of_torch(target, cold)]
    return found


def same_tokens(kernels: Kernels, own: Callable[[torch.Tensor], None], values: Values) -> bool:
    expected = denoise_in_torch(values)
    torch.cuda.synchronize()
    own(values["logits"])
    kernels.device.synchronize()
    return torch.equal(values["block_tokens"], expected["block_tokens"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()

    gpu, *_ = present_gpus() or parser.error("no NVIDIA GPU, or no driver that answers")
    torch.zeros(1, device="cuda")  # creates the CUDA context that both sides share
    capability = gpu.known_capability()
    image = compile_kernels(capability)
    kernels = Kernels(open_device(), image.cubin)
    wrong = check.problems(partial(step, kernels), partial(advance, kernels))
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 1
    result: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "device": f"{gpu.name} ({capability})",
        "versions": {
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "cuda driver": driver_cuda_version(),
            "compiler": image.compiler,
        },
    }
    with Memory.on_device(kernels.device, compile_bandwidth(capability)) as memory:
        result["clocks_before"] = memory.clocks()
        bandwidth = memory.bandwidth()
        result["gigabytes_per_second"] = asdict(bandwidth)
        timed = {targets.written(target.shape): compare(kernels, target, bandwidth) for target in targets.TARGETS}
        result["clocks_after"] = memory.clocks()
    result["timed"] = {
        shape: found | {"targets": [asdict(verdict) for verdict in found["targets"]]} for shape, found in timed.items()
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")
    for found in timed.values():
        print("\n".join(map(str, found["targets"])), file=sys.stderr)
    other = [shape for shape, found in timed.items() if not found["same_tokens"]]
    if other:
        print(f"the kernels commit other tokens than PyTorch at {', '.join(other)}", file=sys.stderr)
    return 1 if other else 0


if __name__ == "__main__":
    sys.exit(main())

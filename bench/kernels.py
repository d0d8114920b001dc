# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The CUDA kernels of the decode operators on a GPU: are they right there, and how fast are they?

    PYTHONPATH=. python bench/kernels.py -o bench/results/kernels.json

Needs an NVIDIA GPU, its driver, PyTorch with CUDA and NVRTC, which PyTorch brings; TensorRT is not needed. It has not
been run: where it was written, there was no GPU.

Checked first, against the 64-bit NumPy reference of the tests: every size of the tests in BF16, FP16 and FP32, greedy
and with temperature. Then timed in BF16, at 1 x 32 x 131072 and 32 x 32 x 131072: the statistics pass with the fused
decision behind it, with BlockDenoise alone, and with temperature; against BlockDenoise in eager PyTorch and under
torch.compile. Each is captured in a CUDA graph of REPEATS steps and timed by events; ``cold`` goes round copies of the
logits that do not fit in the L2 cache together, ``warm`` reads one again and again. The yardstick is the rate of a
device-to-device copy, counting what is read and what is written.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from nld_trt.engine.gpu import present_gpus
from nld_trt.engine.kernels.image import Image, compile_kernels, image_for
from nld_trt.engine.kernels.launch import checked_sizes, launch
from nld_trt.engine.kernels.spec import BLOCK_DENOISE, DECODE_STEP, LOGIT_STATISTICS, TENSORS, Operator
from nld_trt.errors import OperationError
from tests.engine.kernels import reference

MASK = 100
LOGIT_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
CHECKED = [
    (1, 1, 256),
    (2, 5, 257),
    (64, 1, 259),
    (3, 64, 300),
    (4, 9, 1000),
    (2, 7, 4099),
    (1, 32, 8192),
    (2, 3, 8193),
]
CHECKED += [(1, 4, 16391), (1, 2, 131071), (1, 32, 131072)]
TIMED = [(1, 32, 131072), (32, 32, 131072)]
REPEATS = 20
SAMPLES = 15
COPY_BYTES = 1 << 30
L2_TIMES = 4

Values = dict[str, torch.Tensor]


class Kernels:
    """The compiled kernels in PyTorch's context, launched on its current stream."""

    def __init__(self, image: Image) -> None:
        torch.cuda.init()
        torch.zeros(1, device="cuda")  # makes the context
        self.cuda = ctypes.CDLL("libcuda.so.1")
        self.module = ctypes.c_void_p()
        self._call("cuModuleLoadData", ctypes.byref(self.module), image.cubin)
        self.functions: dict[str, ctypes.c_void_p] = {}

    def run(self, operator: Operator, values: Values, logit_type: str, outputs: Values | None = None) -> Values:
        """One launch; ``outputs`` are written if given."""
        batch, width = values["positions"].shape
        sizes = checked_sizes(batch, width, values["logits"].shape[2])
        outputs = outputs or {
            name: torch.full(sizes.shape(name), -77, dtype=getattr(torch, TENSORS[name].dtype), device="cuda")
            for name in operator.outputs
        }
        pointers = [ctypes.c_void_p(values[name].data_ptr()) for name in operator.inputs]
        pointers += [ctypes.c_int(value) for value in sizes.scalars(operator, MASK)]
        pointers += [ctypes.c_void_p(outputs[name].data_ptr()) for name in operator.outputs]
        arguments = (ctypes.c_void_p * len(pointers))(*(ctypes.addressof(pointer) for pointer in pointers))
        planned = launch(operator, sizes)
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        function = self._function(operator.kernel(logit_type))
        shape = (*planned.grid, planned.threads, 1, 1, planned.shared_bytes)
        self._call("cuLaunchKernel", function, *shape, stream, arguments, None)
        return outputs

    def step(self, operator: Operator, values: Values, logit_type: str) -> Values:
        partials = self.run(LOGIT_STATISTICS, values, logit_type)
        return self.run(operator, values | partials, logit_type)

    def _function(self, name: str) -> ctypes.c_void_p:
        if name not in self.functions:
            found = ctypes.c_void_p()
            self._call("cuModuleGetFunction", ctypes.byref(found), self.module, name.encode())
            self.functions[name] = found
        return self.functions[name]

    def _call(self, function: str, *arguments: object) -> None:
        status = getattr(self.cuda, function)(*arguments)
        if status != 0:
            raise OperationError(f"the GPU refused {function}: CUresult {status}")


def inputs(batch: int, width: int, vocab: int, logit_type: str, temperature: float) -> Values:
    rng = np.random.default_rng((batch, width, vocab))
    block = rng.integers(0, vocab, (batch, width))
    block[rng.random((batch, width)) < 0.7] = MASK
    values = {
        "logits": rng.normal(scale=3.0, size=(batch, width, vocab)),
        "temperature": np.full(batch, temperature),
        "seed": rng.integers(-(2**63), 2**63, batch),
        "draw": rng.integers(0, 1000, batch),
        "positions": rng.integers(0, 10**6, (batch, width)),
        "cut": np.full((batch, width), -np.inf),
        "block": block,
        "valid": rng.integers(1, width + 1, batch),
        "threshold": rng.choice([0.0, 0.02, 0.3, 2.0], batch),
        "quota": rng.integers(0, 4, batch),
        "eos_token_id": rng.choice(block.reshape(-1), batch),
    }
    types = {name: getattr(torch, TENSORS[name].dtype, LOGIT_TYPES[logit_type]) for name in values}
    return {name: torch.tensor(value).to(types[name]).cuda() for name, value in values.items()}


def problems(kernels: Kernels, sizes: tuple[int, int, int], logit_type: str, temperature: float) -> list[str]:
    """What the kernels get wrong."""
    values = inputs(*sizes, logit_type, temperature)
    found = {name: value.cpu().numpy() for name, value in kernels.step(DECODE_STEP, values, logit_type).items()}
    given = {
        name: value.float().cpu().numpy() if name == "logits" else value.cpu().numpy() for name, value in values.items()
    }
    score = reference.scores(
        given["logits"], MASK, *(given[n] for n in ("temperature", "seed", "draw", "positions", "cut"))
    )
    choice = found["verified_tokens"]
    got = np.take_along_axis(score, choice[..., None], -1)[..., 0]
    share = np.take_along_axis(reference.probabilities(given["logits"]), choice[..., None], -1)[..., 0]
    masked = (given["block"] == MASK) & (np.arange(sizes[1]) < given["valid"][:, None])
    tokens, left = reference.denoise(
        given["block"], given["valid"], choice, share, given["threshold"], given["quota"], MASK
    )
    ends = reference.verify(given["block"], given["valid"], choice, given["eos_token_id"])
    checks = {
        # Noise is computed in 32 bits; without it the choice is exact.
        "choice": np.allclose(got, score.max(-1), rtol=1e-5, atol=1e-4)
        and (temperature > 0 or (choice == score.argmax(-1)).all()),
        "confidence": np.allclose(found["confidence"], np.where(masked, share, -1.0), rtol=2e-5),
        "block_tokens": np.array_equal(found["block_tokens"], tokens),
        "masks_left": np.array_equal(found["masks_left"], left),
        "finite": found["finite"].all(),
        **{
            name: np.array_equal(found[name], expected)
            for name, expected in zip(("accepted_count", "next_seed", "eos_position"), ends, strict=True)
        },
    }
    values["logits"][0, 0, 7] = float("nan")
    checks["NaN"] = int(kernels.step(DECODE_STEP, values, logit_type)["finite"][0]) == 0
    return [
        f"{name} at {sizes}, {logit_type}, temperature {temperature}" for name, right in checks.items() if not right
    ]


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


def microseconds(step: Callable[[int], object]) -> dict[str, float]:
    """Of one of REPEATS calls of ``step`` in a CUDA graph, which gets a running number."""
    step(0)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for index in range(REPEATS):
            step(index)
    times = []
    for _ in range(SAMPLES):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1000 / REPEATS)
    return {"median": round(statistics.median(times[1:]), 2), "least": round(min(times[1:]), 2)}


def copy_rate() -> float:
    """Bytes per microsecond, read and written."""
    source = torch.empty(COPY_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * COPY_BYTES / microseconds(lambda index: target.copy_(source))["median"]


def compare(kernels: Kernels, sizes: tuple[int, int, int], rate: float) -> dict[str, object]:
    values = inputs(*sizes, "bf16", 0.0)
    size = values["logits"].nbytes
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    copies = [values["logits"]] + [values["logits"].clone() for _ in range(min(REPEATS - 1, L2_TIMES * cache // size))]
    sampled = values | {"temperature": torch.full_like(values["temperature"], 0.8)}
    partials = kernels.run(LOGIT_STATISTICS, values, "bf16")
    outputs = {operator.name: kernels.step(operator, values, "bf16") for operator in (BLOCK_DENOISE, DECODE_STEP)}

    def own(operator: Operator, given: Values) -> Callable[[Values], object]:
        def step(logits: Values) -> object:
            kernels.run(LOGIT_STATISTICS, given | logits, "bf16", partials)
            return kernels.run(operator, given | partials, "bf16", outputs[operator.name])

        return step

    compiled = torch.compile(denoise_in_torch, dynamic=False)
    contestants: dict[str, Callable[[Values], object]] = {
        "BlockDenoise": own(BLOCK_DENOISE, values),
        "DecodeStep": own(DECODE_STEP, values),
        "DecodeStep, temperature": own(DECODE_STEP, sampled),
        "statistics alone": lambda logits: kernels.run(LOGIT_STATISTICS, values | logits, "bf16", partials),
        "BlockDenoise, eager": lambda logits: denoise_in_torch(values | logits),
        "BlockDenoise, torch.compile": lambda logits: compiled(values | logits),
    }
    found: dict[str, object] = {
        "logit_bytes": size,
        "read_at_copy_rate_us": round(size / rate, 2),
        "copies": len(copies),
    }
    for name, contestant in contestants.items():
        found[name] = {
            "cold_us": microseconds(lambda index, it=contestant: it({"logits": copies[index % len(copies)]})),
            "warm_us": microseconds(lambda index, it=contestant: it({"logits": copies[0]})),
        }
    return found


def clocks() -> str:
    query = ["nvidia-smi", "--query-gpu=name,driver_version,clocks.sm,clocks.mem,power.draw", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"unknown: {error}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check-only", action="store_true", help="time nothing")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()

    gpu, *_ = present_gpus() or parser.error("no NVIDIA GPU, or no driver that answers")
    image = compile_kernels(gpu.compute_capability)
    kernels = Kernels(image_for([image], gpu))
    wrong = [
        problem
        for sizes in CHECKED
        for logit_type in LOGIT_TYPES
        for temperature in (0.0, 0.8)
        for problem in problems(kernels, sizes, logit_type, temperature)
    ]
    result: dict[str, object] = {
        "command": " ".join(["python", *sys.argv]),
        "device": f"{gpu.name} ({gpu.compute_capability})",
        "clocks_before": clocks(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "compiler": image.compiler,
        },
        "resources": {name: vars(found) for name, found in image.resources.items()},
        "checked": f"{len(CHECKED)} sizes x {len(LOGIT_TYPES)} types x greedy and temperature",
        "wrong": wrong,
    }
    if not arguments.check_only and not wrong:
        rate = copy_rate()
        result["copy_gigabytes_per_second"] = round(rate / 1000, 1)
        result["timed"] = {" x ".join(map(str, sizes)): compare(kernels, sizes, rate) for sizes in TIMED}
        result["clocks_after"] = clocks()
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

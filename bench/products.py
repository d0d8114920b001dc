# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Products of few tokens with the matrices of the 8B model: tiles of the kernel, and PyTorch's own products.

    PYTHONPATH=. python bench/products.py -o products.json        # on a machine with an NVIDIA GPU

A time is that of one product in a CUDA graph of products with different weights, which together do not fit into the L2
cache: the median of some replays, over their number. Every tile's result is compared with a product in float32.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from nld_trt.engine.torch.kernels.few import BLOCK, Products, Tile, reordered
from nld_trt.engine.torch.kernels.fp8 import quantize
from nld_trt.engine.torch.linear import unpack_pairs

SHAPES = {"qkv": (6144, 4096), "o": (4096, 4096), "gate_up": (28672, 4096), "down": (4096, 14336)}
TOKENS = (1, 32)
FORMS = ("float", "fp8", "int4")
_GROUP = 128
_COLD_BYTES = 300e6
_REPLAYS = 5


def tiles(form: str) -> Iterator[Tile]:
    """The tiles that are tried."""
    features = {"float": (64, 128), "fp8": (128, 256), "int4": (BLOCK,)}[form]
    warps = (4, 8) if form == "int4" else (4,)
    for outputs, width, count, stages, times in itertools.product((32, 64, 128), features, warps, (3, 5), (1, 2, 4)):
        if outputs * width * stages * (2 if form == "float" else 1) < 200_000:
            yield Tile(outputs, width, max(count, 8 if outputs == 128 else 4), stages, times)


def operands(form: str, outputs: int, inputs: int, tokens: int) -> dict[str, Any]:
    """Weights and inputs of one product, on the GPU."""
    x = torch.randn(tokens, inputs, device="cuda", dtype=torch.bfloat16)
    if form == "float":
        return {"x": x, "weight": torch.randn(outputs, inputs, device="cuda", dtype=torch.bfloat16)}
    if form == "fp8":
        values, steps = quantize(x, None)
        weight = torch.randn(outputs, inputs, device="cuda").to(torch.float8_e4m3fn)
        return {"x": values, "weight": weight, "row_scale": torch.rand(outputs, device="cuda") + 0.5, "steps": steps}
    packed = torch.randint(0, 256, (outputs, inputs // 2), device="cuda", dtype=torch.uint8)
    scale = (torch.rand(outputs, inputs // _GROUP, device="cuda") + 0.5).to(torch.bfloat16)
    return {"x": x, "weight": reordered(packed, form), "scale": scale, "packed": packed}


def reference(form: str, given: dict[str, Any]) -> torch.Tensor:
    """The product in float32."""
    if form == "int4":
        codes = (unpack_pairs(given["packed"]).int() ^ 8) - 8
        weight = (codes.unflatten(1, (-1, _GROUP)) * given["scale"].float()[..., None]).flatten(1)
        return given["x"].float() @ weight.t()
    product = given["x"].float() @ given["weight"].float().t()
    return product if form == "float" else product * given["row_scale"] * given["steps"]


def microseconds(run: Callable[[dict[str, Any]], object], copies: list[dict[str, Any]]) -> float:
    """The time of one product."""
    run(copies[0])
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for given in copies:
            run(given)
    times = []
    for _ in range(_REPLAYS + 1):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e3 / len(copies))
    return statistics.median(times[1:])


def product(form: str, tile: Tile) -> Callable[[dict[str, Any]], torch.Tensor]:
    processors = torch.cuda.get_device_properties(0).multi_processor_count
    products = Products.on(torch.device("cuda"), processors, 200_000, {form: tile})

    def run(given: dict[str, Any]) -> torch.Tensor:
        given = {name: value for name, value in given.items() if name != "packed"}
        return products(form=form, out_dtype=torch.bfloat16, **given)

    return run


def _pytorch(form: str) -> dict[str, Callable[[dict[str, Any]], object]]:
    one = torch.ones((), device="cuda")
    return {
        "float": {"F.linear": lambda given: F.linear(given["x"], given["weight"])},
        "fp8": {
            "_scaled_mm, rows": lambda given: torch._scaled_mm(
                given["x"], given["weight"].t(), scale_a=given["steps"], scale_b=given["row_scale"][None],
                out_dtype=torch.bfloat16,
            ),
            "_scaled_mm, one scale": lambda given: torch._scaled_mm(
                given["x"], given["weight"].t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16
            ),
        },
        "int4": {},
    }[form]  # fmt: skip


def _compile(job: tuple[str, int, Tile]) -> None:
    """Have a tile's kernels in Triton's cache on disk."""
    form, tokens, tile = job
    for outputs in (tile.outputs * 1000, tile.outputs):
        product(form, tile)(operands(form, outputs, 512, tokens))
    torch.cuda.synchronize()


def measure(forms: Sequence[str]) -> list[dict[str, Any]]:
    found = []
    for form, tokens, (name, (outputs, inputs)) in itertools.product(forms, TOKENS, SHAPES.items()):
        first = operands(form, outputs, inputs, tokens)
        size = first["weight"].numel() * first["weight"].element_size()
        copies = [first, *(operands(form, outputs, inputs, tokens) for _ in range(int(_COLD_BYTES // size)))]
        expected = reference(form, first)
        entry: dict[str, Any] = {"form": form, "tokens": tokens, "shape": name, "megabytes": size / 1e6, "tiles": []}
        entry["pytorch"] = {title: microseconds(run, copies) for title, run in _pytorch(form).items()}
        for tile in tiles(form):
            run = product(form, tile)
            error = float((run(first).float() - expected).norm() / expected.norm())
            entry["tiles"].append({**vars(tile), "us": microseconds(run, copies), "error": error})
        entry["tiles"].sort(key=lambda each: each["us"])
        found.append(entry)
        best, worst = entry["tiles"][0], max(each["error"] for each in entry["tiles"])
        print(
            f"{form} {tokens} {name}: {best['us']:.1f} us, {size / best['us'] / 1e3:.0f} GB/s, PyTorch "
            f"{entry['pytorch']}, largest error {worst:.1e}, {best}",
            flush=True,
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--forms", default=",".join(FORMS), help="forms of the weights, of " + ", ".join(FORMS))
    asked = parser.parse_args()
    # Kernels do not depend on the number of programs.
    jobs = {
        (form, tokens, replace(tile, programs=1)) for form in asked.forms.split(",") for tokens in TOKENS
        for tile in tiles(form)
    }  # fmt: skip
    with multiprocessing.get_context("spawn").Pool(min(14, os.cpu_count() or 1)) as pool:
        pool.map(_compile, sorted(jobs, key=str), chunksize=4)
    found = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "products": measure(asked.forms.split(",")),
    }
    asked.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

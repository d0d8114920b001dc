# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The times of the kernels beside the time that reading the logits takes on this GPU.

``cold`` times cycle through copies of the logits, so many that L2_TIMES the size of the L2 cache is read before a copy
is read again; ``warm`` times read one copy again and again. Two passes are timed: a denoise pass over a block of masks,
and a verify pass over a draft that matches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from math import prod
from typing import Any

import numpy as np

from nld_trt import names
from nld_trt.engine.gpu.kernels.launcher import Kernels
from nld_trt.engine.gpu.kernels.spec import DECODE_STEP, LOGIT_STATISTICS, OPERATORS, Operator
from nld_trt.machine.device import Device
from nld_trt.measure.kernels.bandwidth import Bandwidth
from nld_trt.measure.kernels.cases import MASK, all_masks, case, matching_draft, with_rows
from nld_trt.measure.kernels.next_pass import of_blocks
from nld_trt.measure.kernels.reference import Array, Values
from nld_trt.measure.kernels.tensors import Tensors
from nld_trt.measure.kernels.timing import copies_beyond, time

PASSES: Mapping[str, Callable[[Values], dict[str, Array]]] = {
    "denoise": lambda values: of_blocks(all_masks(values), names.DIFFUSION, causal=False),
    "verify": lambda values: of_blocks(matching_draft(values), names.LINEAR, causal=True),
}
TIMED_ROWS = ("greedy", "sampled")
# The bytes read between two reads of the same copy, in sizes of the L2 cache.
L2_TIMES = 4

ALL: Sequence[Operator] = tuple(OPERATORS.values())

OnLogits = Callable[[int], object]


def timed_case(shape: tuple[int, int, int], name: str, rows: str) -> dict[str, Array]:
    """The inputs of one of PASSES, in BF16. All rows have the same logits: to draw them for each would take longest."""
    values = PASSES[name](case(1, *shape[1:], "bf16"))
    repeated = {name: value if name == "logits" else np.repeat(value, shape[0], 0) for name, value in values.items()}
    return with_rows(repeated, rows)


def timings(kernels: Kernels, shape: tuple[int, int, int], bandwidth: Bandwidth) -> dict[str, Any]:
    """The times in BF16 at one size, and the time that reading the logits takes."""
    device, size = kernels.device, 2 * prod(shape)
    count = copies_beyond(L2_TIMES * device.l2_bytes, size)
    found: dict[str, Any] = {
        "logit_bytes": size,
        "floor_us": round(bandwidth.microseconds(size), 2),
        "copies_of_the_logits": count,
    }
    with (
        Tensors.on_device(device, timed_case(shape, "denoise", "greedy"), "bf16", ALL) as tensors,
        _copies(device, tensors.addresses["logits"], size, count) as logits,
    ):
        for name in PASSES:
            found[name] = {}
            for rows in TIMED_ROWS:
                values = timed_case(shape, name, rows)
                tensors.write({key: value for key, value in values.items() if key != "logits"})
                works = _works(kernels, tensors)
                found[name][rows] = {key: _cold_and_warm(device, work, logits) for key, work in works.items()}
    return found


@contextmanager
def _copies(device: Device, logits: int, size: int, count: int) -> Iterator[list[int]]:
    """The addresses of ``count`` copies of the logits, of which ``logits`` is the first."""
    made: list[int] = []
    try:
        for _ in range(count - 1):
            made.append(device.allocate(size))
            device.copy(made[-1], logits, size)
        yield [logits, *made]
    finally:
        device.synchronize()
        for address in made:
            device.release(address)


def _cold_and_warm(device: Device, work: OnLogits, logits: list[int]) -> dict[str, Any]:
    cold = time(device, lambda index: work(logits[index % len(logits)]), copies=len(logits))
    warm = time(device, lambda index: work(logits[0]))
    return {"cold_us": asdict(cold), "warm_us": asdict(warm)}


def _works(kernels: Kernels, tensors: Tensors) -> dict[str, OnLogits]:
    def launching(*operators: Operator) -> OnLogits:
        def work(logits: int) -> None:
            for operator in operators:
                kernels.launch(operator, tensors.sizes, tensors.addresses | {"logits": logits}, "bf16", MASK)

        return work

    # An operator alone reads what those before it left in "all".
    alone = {operator.name: launching(operator) for operator in ALL}
    return {"all": launching(*ALL), "both": launching(LOGIT_STATISTICS, DECODE_STEP), **alone}

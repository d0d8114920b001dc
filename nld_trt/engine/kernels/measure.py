# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Are the kernels right on this GPU, and how near are they to the time that reading the logits takes?

Times are of CUDA graphs of REPEATS launches, between events. ``cold`` goes round copies of the logits that do not fit
in the L2 cache together; ``warm`` reads one again and again. The yardstick is the rate of a copy on the device, which
counts what is read and what is written.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import numpy as np

from nld_trt.engine.kernels import reference
from nld_trt.engine.kernels.cases import DTYPES, MASK, SIZES, case
from nld_trt.engine.kernels.driver import Driver, Kernels
from nld_trt.engine.kernels.launch import Sizes, checked_sizes
from nld_trt.engine.kernels.reference import Array
from nld_trt.engine.kernels.spec import DECODE_STEP, LOGIT_STATISTICS, TENSORS

TIMED = ((1, 32, 131072), (32, 32, 131072))
TEMPERATURES = (0.0, 0.8)
REPEATS, SAMPLES = 20, 15
COPY_BYTES = 1 << 30
# Copies of the logits, together, in sizes of the L2 cache.
L2_TIMES = 4

Work = Callable[[int], object]


@dataclass(frozen=True)
class Times:
    """Microseconds of one call."""

    median: float
    least: float


@dataclass
class Tensors:
    """Tensors of both operators on the device, by name."""

    driver: Driver
    sizes: Sizes[int]
    addresses: dict[str, int]

    @classmethod
    @contextmanager
    def on_device(cls, driver: Driver, values: Mapping[str, Array], logit_type: str) -> Iterator[Tensors]:
        """``values`` and room for what the operators write. A single row of logits stands for every row."""
        batch, width = values["block"].shape
        sizes = checked_sizes(batch, width, values["logits"].shape[2])
        tensors = cls(driver, sizes, {})
        try:
            for name in dict.fromkeys((*LOGIT_STATISTICS.inputs, *DECODE_STEP.inputs, *DECODE_STEP.outputs)):
                dtype = np.dtype(_dtype(name, logit_type))
                address = tensors.addresses[name] = driver.allocate(prod(sizes.shape(name)) * dtype.itemsize)
                if name not in values:
                    continue
                array = np.ascontiguousarray(values[name], dtype)
                copies = batch // len(array)
                for copy in range(copies):
                    driver.upload(address + copy * array.nbytes, array)
            yield tensors
        finally:
            driver.wait()
            for address in tensors.addresses.values():
                driver.release(address)

    def read(self, name: str) -> Array:
        array = np.empty(self.sizes.shape(name), TENSORS[name].dtype)
        self.driver.download(array, self.addresses[name])
        return array


def _dtype(name: str, logit_type: str) -> Any:
    return DTYPES[logit_type] if TENSORS[name].dtype == "logits" else TENSORS[name].dtype


def problems(kernels: Kernels) -> list[str]:
    """What the kernels get wrong: every size of the tests, every type, greedily and with a temperature."""
    return [
        f"{problem} at {' x '.join(map(str, sizes))}, {logit_type}, temperature {temperature}"
        for sizes in SIZES
        for logit_type in DTYPES
        for temperature in TEMPERATURES
        for problem in _problems(kernels, sizes, logit_type, temperature)
    ]


def _problems(kernels: Kernels, sizes: tuple[int, int, int], logit_type: str, temperature: float) -> list[str]:
    values = case(*sizes, logit_type, temperature=temperature)
    wrong = reference.differences(_step(kernels, values, logit_type), values, MASK)
    values["logits"][0, 0, 7] = np.nan
    return wrong if _step(kernels, values, logit_type)["finite"][0] == 0 else [*wrong, "finite with a NaN"]


def _step(kernels: Kernels, values: Mapping[str, Array], logit_type: str) -> dict[str, Array]:
    with Tensors.on_device(kernels.driver, values, logit_type) as tensors:
        for operator in (LOGIT_STATISTICS, DECODE_STEP):
            kernels.launch(operator, tensors.sizes, tensors.addresses, logit_type, MASK)
        kernels.driver.wait()
        return {name: tensors.read(name) for name in DECODE_STEP.outputs}


def time(driver: Driver, work: Work) -> Times:
    """Of one of REPEATS calls of ``work``, which gets a running number and queues something."""

    def all_of_them() -> None:
        for index in range(REPEATS):
            work(index)

    # Loading and first use happen outside the graph.
    work(0)
    driver.wait()
    run = driver.record(all_of_them)
    run()
    times = [run() * 1000 / REPEATS for _ in range(SAMPLES)]
    return Times(round(statistics.median(times), 2), round(min(times), 2))


def copy_rate(driver: Driver) -> float:
    """Bytes per microsecond, read and written."""
    source, target = driver.allocate(COPY_BYTES), driver.allocate(COPY_BYTES)
    try:
        return 2 * COPY_BYTES / time(driver, lambda index: driver.copy(target, source, COPY_BYTES)).median
    finally:
        driver.release(source)
        driver.release(target)


def timings(kernels: Kernels, shape: tuple[int, int, int], rate: float) -> dict[str, Any]:
    """Times in BF16 at one size, and the time that reading the logits takes at ``rate``."""
    driver = kernels.driver
    values = case(1, *shape[1:], "bf16")
    # One row of random numbers stands for all: making more takes longer than everything else.
    values = {name: value if name == "logits" else np.repeat(value, shape[0], 0) for name, value in values.items()}
    with Tensors.on_device(driver, values, "bf16") as tensors:
        size = 2 * prod(shape)
        count = min(REPEATS - 1, L2_TIMES * driver.l2_bytes // size)
        logits = [tensors.addresses["logits"], *(driver.allocate(size) for _ in range(count))]
        for address in logits[1:]:
            driver.copy(address, logits[0], size)
        found: dict[str, Any] = {"logit_bytes": size, "floor_us": round(size / rate, 2), "copies": len(logits)}
        for kind, temperature in (("greedy", 0.0), ("sampled", 0.8)):
            driver.upload(tensors.addresses["temperature"], np.full(shape[0], temperature, np.float32))
            found[kind] = {
                name: {
                    "cold_us": asdict(time(driver, lambda index, it=work: it(logits[index % len(logits)]))),  # type: ignore[misc]
                    "warm_us": asdict(time(driver, lambda index, it=work: it(logits[0]))),  # type: ignore[misc]
                }
                for name, work in _works(kernels, tensors).items()
            }
        driver.wait()
        for address in logits[1:]:
            driver.release(address)
    return found


def _works(kernels: Kernels, tensors: Tensors) -> dict[str, Work]:
    def statistics_pass(logits: int) -> None:
        kernels.launch(LOGIT_STATISTICS, tensors.sizes, tensors.addresses | {"logits": logits}, "bf16", MASK)

    def decision(logits: int) -> None:
        kernels.launch(DECODE_STEP, tensors.sizes, tensors.addresses | {"logits": logits}, "bf16", MASK)

    def both(logits: int) -> None:
        statistics_pass(logits)
        decision(logits)

    return {LOGIT_STATISTICS.name: statistics_pass, DECODE_STEP.name: decision, "both": both}


def clocks() -> str:
    """Name, driver, clocks and power, as nvidia-smi has them."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,clocks.sm,clocks.mem,power.draw", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"unknown: {error}"

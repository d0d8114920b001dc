# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The memory bandwidth of this GPU, measured in three ways. It is the yardstick of every floor.

On some GPUs the driver's own copy stays well below what kernels reach, so that a floor made of it alone would be too
low a bar. The largest of the three rates counts.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from nld_trt.engine.gpu.kernels.image import Image, KernelSource, compile_source
from nld_trt.errors import OperationError
from nld_trt.machine.clocks import under_load
from nld_trt.machine.device import Device
from nld_trt.measure.kernels.timing import Recorded, Work, time

SOURCE = "bandwidth.cu"
COPY_KERNEL, SUM_KERNEL = "nld_copy_vectors", "nld_sum_vectors"
# The same constants as in bandwidth.cu.
THREADS, BATCH = 256, 8
BLOCK_BYTES = 16 * THREADS * BATCH
_SUM_BYTES_PER_BLOCK = 4 * THREADS // 32

# The size of each buffer, more than any L2 cache holds, and of the random bytes that fill the buffers.
BUFFER_BYTES = 1 << 30
FILL_BYTES = 1 << 26
# nvidia-smi takes up to a second to answer, so the load lasts longer. The reads are queued in graphs of LOAD_READS:
# one by one they would fill the stream's queue, and the host would wait.
LOAD_MILLISECONDS, LOAD_READS = 3000, 100


def compile_bandwidth(capability: str) -> Image:
    """Compile the two kernels. This raises what compile_kernels raises."""
    return compile_source(capability, KernelSource.read(Path(__file__).parent), SOURCE, (COPY_KERNEL, SUM_KERNEL))


@dataclass(frozen=True)
class Bandwidth:
    """Rates in gigabytes per second; a copy counts the bytes read and the bytes written.

    ``theoretical`` is None where the driver does not report the memory's clock.
    """

    memcpy: float
    copy_kernel: float
    read_kernel: float
    theoretical: float | None

    @property
    def best(self) -> float:
        """The largest rate that was measured."""
        return max(self.memcpy, self.copy_kernel, self.read_kernel)

    def microseconds(self, size: int) -> float:
        """The time that reading ``size`` bytes takes at the best rate."""
        return size / self.best / 1000


@dataclass(frozen=True)
class Memory:
    """Two buffers of random bytes on the device, and the kernels that read and copy them."""

    device: Device
    copy_kernel: Any
    sum_kernel: Any
    source: int
    target: int
    sums: int
    expected_sum: int

    @classmethod
    @contextmanager
    def on_device(cls, device: Device, image: Image) -> Iterator[Memory]:
        module = device.load(image.cubin)
        copy_kernel, sum_kernel = (device.function(module, name) for name in (COPY_KERNEL, SUM_KERNEL))
        blocks = BUFFER_BYTES // BLOCK_BYTES
        addresses: list[int] = []
        try:
            for size in (BUFFER_BYTES, BUFFER_BYTES, blocks * _SUM_BYTES_PER_BLOCK):
                addresses.append(device.allocate(size))
            # A GPU may answer reads of memory that was never written without fetching anything.
            filling = np.random.default_rng(0).integers(0, 1 << 32, min(FILL_BYTES, BUFFER_BYTES) // 4, np.uint32)
            for buffer in addresses[:2]:
                device.upload(buffer, filling)
                for start in range(filling.nbytes, BUFFER_BYTES, filling.nbytes):
                    device.copy(buffer + start, buffer, filling.nbytes)
            total = int(filling.sum(dtype=np.uint64)) * (BUFFER_BYTES // filling.nbytes)
            source, target, sums = addresses
            yield cls(device, copy_kernel, sum_kernel, source, target, sums, total & 0xFFFFFFFF)
        finally:
            device.synchronize()
            for address in addresses:
                device.release(address)

    def bandwidth(self) -> Bandwidth:
        """Measure all three rates.

        Raises:
            OperationError: the sum is wrong, so its time would be of something else.
        """
        self._check_sum()
        copied, read = 2 * BUFFER_BYTES, BUFFER_BYTES
        theoretical = self.device.theoretical_gigabytes_per_second
        return Bandwidth(
            memcpy=self._rate(copied, lambda index: self.device.copy(self.target, self.source, BUFFER_BYTES)),
            copy_kernel=self._rate(copied, lambda index: self._launch(self.copy_kernel, self.target)),
            read_kernel=self._rate(read, lambda index: self._read()),
            theoretical=theoretical and round(theoretical, 1),
        )

    def clocks(self) -> str:
        """The name, driver, clocks and power of this GPU under load, as nvidia-smi reports them."""
        graph = Recorded(self.device, self._read_often)
        for _ in range(ceil(LOAD_MILLISECONDS / max(graph.milliseconds(), 1e-3))):
            graph.queue()
        try:
            return under_load(self.device.uuid)
        finally:
            self.device.synchronize()

    def _rate(self, size: int, work: Work) -> float:
        return round(size / time(self.device, work).median / 1000, 1)

    def _read(self) -> None:
        self._launch(self.sum_kernel, self.sums)

    def _read_often(self) -> None:
        for _ in range(LOAD_READS):
            self._read()

    def _launch(self, kernel: Any, written: int) -> None:
        arguments = [ctypes.c_void_p(self.source), ctypes.c_void_p(written)]
        self.device.launch(kernel, (BUFFER_BYTES // BLOCK_BYTES, 1, 1), THREADS, arguments)

    def _check_sum(self) -> None:
        self._read()
        sums = np.empty(BUFFER_BYTES // BLOCK_BYTES * _SUM_BYTES_PER_BLOCK // 4, np.uint32)
        self.device.download(sums, self.sums)
        found = int(sums.sum(dtype=np.uint64)) & 0xFFFFFFFF
        if found != self.expected_sum:
            raise OperationError(f"{SUM_KERNEL} found {found} in a buffer whose words add up to {self.expected_sum}")

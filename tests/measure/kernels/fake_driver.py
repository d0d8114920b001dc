# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's driver library with the CPU as its GPU: memory is host memory, kernels are those of host.cpp."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np

from nld_trt.engine.trt.kernels.spec import LOGIT_STATISTICS, OPERATORS, Operator
from nld_trt.measure.kernels.bandwidth import BATCH, BLOCK_BYTES, COPY_KERNEL, SUM_KERNEL, THREADS

KERNELS = {kernel: operator for operator in OPERATORS.values() for kernel in operator.kernels}
UUID = bytes(range(16))
# cuda.h: memory clock in kHz, bits of the memory bus, bytes of L2.
ATTRIBUTES = {36: 2_619_000, 37: 5120, 38: 1 << 20}


def copy_vectors(blocks: int, source: int, target: int) -> None:
    ctypes.memmove(target, source, blocks * BLOCK_BYTES)


def sum_vectors(blocks: int, source: int, sums: int) -> None:
    """The warps of a block stand next to each other in every one of its rows of vectors."""
    warps = THREADS // 32
    words = np.ctypeslib.as_array(ctypes.cast(source, ctypes.POINTER(ctypes.c_uint)), (blocks * BLOCK_BYTES // 4,))
    found = words.reshape(blocks, BATCH, warps, -1).sum((1, 3), dtype=np.uint32)
    ctypes.memmove(sums, found.ctypes.data, found.nbytes)


MEMORY_KERNELS = {COPY_KERNEL: copy_vectors, SUM_KERNEL: sum_vectors}


class FakeDriver:
    """Everything that is queued runs at once, unless a graph is being recorded.

    Attributes:
        launches: (kernel, grid, threads) in order.
        live: addresses that are allocated and not released.
        attributes: by their number in cuda.h.
        log: graph launches and event records, in order. Events are a millisecond apart.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        self.live: dict[int, ctypes.Array] = {}
        self.launches: list[tuple[str, tuple[int, ...], int]] = []
        self.attributes = dict(ATTRIBUTES)
        self.log: list[str] = []
        self._names = [*KERNELS, *MEMORY_KERNELS]
        self._recording: list[Callable[[], None]] | None = None
        self._graphs: list[list[Callable[[], None]]] = []
        self._events: list[int] = []

    def __getattr__(self, name: str):
        """The functions of which nothing is needed but success."""
        plain = "cuInit cuDeviceGet cuDevicePrimaryCtxRetain cuCtxSetCurrent cuStreamCreate"
        if name not in (*plain.split(), "cuModuleLoadData", "cuEventSynchronize"):
            raise AttributeError(name)
        return lambda *arguments: 0

    def cuDriverGetVersion(self, version) -> int:
        version._obj.value = 13010
        return 0

    def cuDeviceGetAttribute(self, value, attribute, device) -> int:
        value._obj.value = self.attributes[attribute]
        return 0

    def cuDeviceGetUuid_v2(self, uuid, device) -> int:
        uuid._obj.raw = UUID
        return 0

    def cuStreamSynchronize(self, stream) -> int:
        return 0

    def cuMemAlloc_v2(self, address, size) -> int:
        # Aligned as an allocation of a GPU is.
        memory = ctypes.create_string_buffer(b"\xb3" * size.value, size.value + 256)
        address._obj.value = -(-ctypes.addressof(memory) // 256) * 256
        self.live[address._obj.value] = memory
        return 0

    def cuMemFree_v2(self, address) -> int:
        del self.live[address.value]
        return 0

    def cuMemcpyHtoDAsync_v2(self, target, source, size, stream) -> int:
        return self._queue(lambda: ctypes.memmove(target.value, source.value, size.value))

    cuMemcpyDtoHAsync_v2 = cuMemcpyDtoDAsync_v2 = cuMemcpyHtoDAsync_v2

    def cuModuleGetFunction(self, function, module, name) -> int:
        if name.decode() not in self._names:
            return 500
        function._obj.value = self._names.index(name.decode()) + 1
        return 0

    def cuLaunchKernel(self, function, x, y, z, threads, one, two, shared, stream, pointers, extra) -> int:
        name = self._names[function.value - 1]
        if name in MEMORY_KERNELS:
            addresses = [ctypes.c_void_p.from_address(pointers[index]).value for index in range(2)]
            self.launches.append((name, (x, y, z), threads))
            return self._queue(lambda: MEMORY_KERNELS[name](x, *addresses))
        operator = KERNELS[name]
        values = [kind.from_address(pointers[index]).value for index, kind in enumerate(_kinds(operator))]
        self.launches.append((name, (x, y, z), threads))
        rows = z if operator is LOGIT_STATISTICS else x
        arguments = [kind(value) for kind, value in zip(_kinds(operator), values, strict=True)]
        return self._queue(lambda: getattr(self.library, name)(ctypes.c_int(rows), *arguments))

    def cuStreamBeginCapture_v2(self, stream, mode) -> int:
        self._recording = []
        return 0

    def cuStreamEndCapture(self, stream, graph) -> int:
        self._graphs.append(self._recording)
        self._recording = None
        graph._obj.value = len(self._graphs)
        return 0

    def cuGraphInstantiateWithFlags(self, runnable, graph, flags) -> int:
        runnable._obj.value = graph.value
        return 0

    def cuGraphLaunch(self, runnable, stream) -> int:
        self.log.append("graph")
        for work in self._graphs[runnable.value - 1]:
            work()
        return 0

    def cuEventCreate(self, event, flags) -> int:
        self._events.append(0)
        event._obj.value = len(self._events)
        return 0

    def cuEventRecord(self, event, stream) -> int:
        self.log.append("mark")
        self._events[event.value - 1] = self.log.count("mark")
        return 0

    def cuEventElapsedTime(self, elapsed, begin, end) -> int:
        elapsed._obj.value = self._events[end.value - 1] - self._events[begin.value - 1]
        return 0

    def _queue(self, work) -> int:
        if self._recording is None:
            work()
        else:
            self._recording.append(work)
        return 0


def _kinds(operator: Operator) -> list:
    pointer = ctypes.c_void_p
    return [pointer] * len(operator.inputs) + [ctypes.c_int] * len(operator.scalars) + [pointer] * len(operator.outputs)

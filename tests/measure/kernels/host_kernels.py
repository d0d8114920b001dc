# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The kernels for the stand-in of a GPU: the decode operators as host.cpp has them, the bandwidth kernels in NumPy."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import numpy as np

from nld_trt.engine.gpu.kernels.spec import LOGIT_STATISTICS, OPERATORS, Operator
from nld_trt.measure.kernels.bandwidth import BATCH, BLOCK_BYTES, COPY_KERNEL, SUM_KERNEL, THREADS
from tests.machine.fake_cuda import Kernel, Work


def copy_vectors(blocks: int, source: int, target: int) -> None:
    ctypes.memmove(target, source, blocks * BLOCK_BYTES)


def sum_vectors(blocks: int, source: int, sums: int) -> None:
    """The warps of a block stand next to each other in every one of its rows of vectors."""
    warps = THREADS // 32
    words = np.ctypeslib.as_array(ctypes.cast(source, ctypes.POINTER(ctypes.c_uint)), (blocks * BLOCK_BYTES // 4,))
    found = words.reshape(blocks, BATCH, warps, -1).sum((1, 3), dtype=np.uint32)
    ctypes.memmove(sums, found.ctypes.data, found.nbytes)


MEMORY_KERNELS: dict[str, Callable[[int, int, int], None]] = {COPY_KERNEL: copy_vectors, SUM_KERNEL: sum_vectors}


def host_kernels(library) -> dict[str, Kernel]:
    """By name.

    Args:
        library: has a function for each kernel of a decode operator.
    """
    operators = {name: _operator(library, name, it) for it in OPERATORS.values() for name in it.kernels}
    return operators | {name: _on_memory(name) for name in MEMORY_KERNELS}


def _on_memory(name: str) -> Kernel:
    def launch(grid: tuple[int, int, int], pointers: Sequence[int]) -> Work:
        addresses = [ctypes.c_void_p.from_address(pointers[index]).value for index in range(2)]
        return lambda: MEMORY_KERNELS[name](grid[0], *addresses)

    return launch


def _operator(library, name: str, operator: Operator) -> Kernel:
    kinds = _kinds(operator)

    def launch(grid: tuple[int, int, int], pointers: Sequence[int]) -> Work:
        arguments = [kind(kind.from_address(pointers[index]).value) for index, kind in enumerate(kinds)]
        rows = grid[2] if operator is LOGIT_STATISTICS else grid[0]
        return lambda: getattr(library, name)(ctypes.c_int(rows), *arguments)

    return launch


def _kinds(operator: Operator) -> list:
    pointer = ctypes.c_void_p
    return [pointer] * len(operator.inputs) + [ctypes.c_int] * len(operator.scalars) + [pointer] * len(operator.outputs)

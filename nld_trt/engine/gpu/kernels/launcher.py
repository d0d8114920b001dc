# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Launching the decode kernels on a GPU without TensorRT: in PyTorch engines, checks and benchmarks."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

from nld_trt.engine.gpu.kernels.launch import Sizes, launch
from nld_trt.engine.gpu.kernels.spec import Operator
from nld_trt.machine.device import Device


def open_device() -> Device:
    """The GPU that the kernels are checked and timed on.

    Raises:
        InputError: the package cuda-bindings is not installed, or there is no driver.
        OperationError: the GPU, or its driver, does not work.
    """
    return Device.open("running the decode kernels", "plugins")


class Kernels:
    """The compiled kernels, loaded onto a GPU."""

    def __init__(self, device: Device, cubin: bytes) -> None:
        self.device = device
        self._module = device.load(cubin)
        self._functions: dict[str, Any] = {}

    def launch(
        self, operator: Operator, sizes: Sizes[int], addresses: Mapping[str, int], logit_type: str, mask_token_id: int
    ) -> None:
        """Queue one operator. ``addresses`` has the device address of each tensor, by the tensor's name.

        The kernels wait for what is before them in the stream by themselves, so that their launches overlap with it.
        The temperatures of a step must be written before its LogitStatistics: DecodeStep reads them before it waits.
        """
        name = operator.kernel(logit_type)
        if name not in self._functions:
            self._functions[name] = self.device.function(self._module, name)
        arguments: list[Any] = [ctypes.c_void_p(addresses[tensor]) for tensor in operator.inputs]
        arguments += [ctypes.c_int(value) for value in sizes.scalars(operator, mask_token_id)]
        arguments += [ctypes.c_void_p(addresses[tensor]) for tensor in operator.outputs]
        planned = launch(operator, sizes)
        self.device.launch(self._functions[name], planned.grid, planned.threads, arguments, overlapping=True)

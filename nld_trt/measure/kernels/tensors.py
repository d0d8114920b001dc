# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The inputs and outputs of the decode operators in the memory of a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from nld_trt.engine.gpu.kernels.launch import Sizes, checked_sizes
from nld_trt.engine.gpu.kernels.launcher import Kernels
from nld_trt.engine.gpu.kernels.spec import DECODE_STEP, LOGIT_STATISTICS, TENSORS
from nld_trt.machine.device import Device
from nld_trt.measure.kernels.cases import DTYPES, MASK
from nld_trt.measure.kernels.reference import Array


@dataclass
class Tensors:
    """The tensors of both operators on the device. ``addresses`` is by tensor name."""

    device: Device
    sizes: Sizes[int]
    logit_type: str
    addresses: dict[str, int]

    @classmethod
    @contextmanager
    def on_device(cls, device: Device, values: Mapping[str, Array], logit_type: str) -> Iterator[Tensors]:
        """Upload ``values`` and allocate what the operators write. A single row of logits is repeated for every row."""
        batch, width = values["block"].shape
        sizes = checked_sizes(batch, width, values["logits"].shape[2])
        tensors = cls(device, sizes, logit_type, {})
        try:
            for name in dict.fromkeys((*LOGIT_STATISTICS.inputs, *DECODE_STEP.inputs, *DECODE_STEP.outputs)):
                size = prod(sizes.shape(name)) * np.dtype(tensors._dtype(name)).itemsize
                tensors.addresses[name] = device.allocate(size)
            tensors.write(values)
            yield tensors
        finally:
            device.synchronize()
            for address in tensors.addresses.values():
                device.release(address)

    def write(self, values: Mapping[str, Array]) -> None:
        for name, address in self.addresses.items():
            if name not in values:
                continue
            array = np.ascontiguousarray(values[name], self._dtype(name))
            for copy in range(self.sizes.batch // len(array)):
                self.device.upload(address + copy * array.nbytes, array)

    def read(self, name: str) -> Array:
        array = np.empty(self.sizes.shape(name), TENSORS[name].dtype)
        self.device.download(array, self.addresses[name])
        return array

    def _dtype(self, name: str) -> Any:
        return DTYPES[self.logit_type] if TENSORS[name].dtype == "logits" else TENSORS[name].dtype


def step(kernels: Kernels, values: Mapping[str, Array], logit_type: str) -> dict[str, Array]:
    """Run both operators once, and return their outputs by name."""
    with Tensors.on_device(kernels.device, values, logit_type) as tensors:
        for operator in (LOGIT_STATISTICS, DECODE_STEP):
            kernels.launch(operator, tensors.sizes, tensors.addresses, logit_type, MASK)
        kernels.device.synchronize()
        return {name: tensors.read(name) for name in DECODE_STEP.outputs}

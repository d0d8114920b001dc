# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The inputs and outputs of the decode operators in the memory of a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from nld_trt.engine.gpu.kernels.launch import Sizes, checked_sizes
from nld_trt.engine.gpu.kernels.launcher import Kernels
from nld_trt.engine.gpu.kernels.spec import ADVANCE, DECODE_STEP, LOGIT_STATISTICS, TENSORS, Operator
from nld_trt.machine.device import Device
from nld_trt.measure.kernels.cases import DTYPES, MASK
from nld_trt.measure.kernels.reference import Array


@dataclass
class Tensors:
    """The tensors of some operators on the device. ``addresses`` is by tensor name."""

    device: Device
    sizes: Sizes[int]
    logit_type: str
    addresses: dict[str, int]

    @classmethod
    @contextmanager
    def on_device(
        cls, device: Device, values: Mapping[str, Array], logit_type: str, operators: Sequence[Operator]
    ) -> Iterator[Tensors]:
        """Upload ``values`` and allocate what the operators write. A single row of logits is repeated for every row."""
        batch, width = values["block"].shape
        sizes: Sizes[int] = Sizes(batch, width)
        if "logits" in values:
            sizes = checked_sizes(batch, width, values["logits"].shape[2])
        tensors = cls(device, sizes, logit_type, {})
        try:
            for name in dict.fromkeys(name for each in operators for name in (*each.inputs, *each.outputs)):
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
    """Run the statistics pass and the decision once, and return the outputs of the decision by name."""
    return _run(kernels, values, logit_type, (LOGIT_STATISTICS, DECODE_STEP))


def advance(kernels: Kernels, values: Mapping[str, Array]) -> dict[str, Array]:
    """Prepare the next passes once, and return the outputs by name."""
    return _run(kernels, values, _NO_LOGITS, (ADVANCE,))


# Any type will do for operators that read no logits.
_NO_LOGITS = "fp32"


def _run(
    kernels: Kernels, values: Mapping[str, Array], logit_type: str, operators: Sequence[Operator]
) -> dict[str, Array]:
    with Tensors.on_device(kernels.device, values, logit_type, operators) as tensors:
        for operator in operators:
            kernels.launch(operator, tensors.sizes, tensors.addresses, logit_type, MASK)
        kernels.device.synchronize()
        return {name: tensors.read(name) for name in operators[-1].outputs}

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The form of a GPU on the CPU: Triton's kernels in its interpreter, the decode kernels compiled for the host."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch

from nld_trt.engine.gpu.session import GpuSession
from nld_trt.engine.torch.cuda import FusedModel
from nld_trt.engine.torch.forward import layer_caches, views
from nld_trt.engine.torch.weights import EngineWeights
from nld_trt.machine.host_device import HostDevice

CPU = torch.device("cpu")


class HostKernels:
    """Runs the decode kernels that were compiled for the host, and counts them."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        self.launched: dict[str, int] = {}

    def launch(self, operator, sizes, addresses, logit_type, mask_token_id) -> None:
        self.launched[operator.name] = self.launched.get(operator.name, 0) + 1
        arguments = [ctypes.c_void_p(addresses[name]) for name in operator.inputs]
        arguments += [ctypes.c_int(value) for value in sizes.scalars(operator, mask_token_id)]
        arguments += [ctypes.c_void_p(addresses[name]) for name in operator.outputs]
        getattr(self.library, operator.kernel(logit_type))(ctypes.c_int(sizes.batch), *arguments)


@dataclass(frozen=True)
class Forward:
    model: FusedModel
    inputs: dict
    outputs: dict
    caches: list
    samples: bool

    def can_be_captured(self) -> bool:
        return False

    def run(self) -> None:
        with torch.inference_mode():
            self.model.run(self.inputs, self.caches, self.outputs, samples=self.samples)


@dataclass(frozen=True)
class InterpretedExecutor:
    """What ``cuda.CudaExecutor`` does, without a stream and a pool of memory."""

    model: FusedModel
    info: object
    caches: object
    captures_all = True

    def bind(self, phase, side, rows, memory, *, samples, repeats) -> Forward:
        inputs, outputs = (views(slots, memory, CPU) for slots in (side.inputs, side.outputs))
        return Forward(self.model, inputs, outputs, layer_caches(self.caches, self.info, rows, CPU), samples)


def open_interpreted(path, info, library) -> tuple[GpuSession, HostKernels]:
    weights, launcher = EngineWeights.load(path, CPU), HostKernels(library)
    model = FusedModel(weights, info, CPU, processors=4, has_fp8=False, launcher=launcher)
    return GpuSession(info, HostDevice(), lambda caches: InterpretedExecutor(model, info, caches)), launcher

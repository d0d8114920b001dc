# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A ``torch`` engine on the CPU: the session and the network of a GPU, without graphs and kernels of our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from nld_trt.engine.gpu.arena import Side
from nld_trt.engine.gpu.executor import BoundForward, Caches
from nld_trt.engine.gpu.session import GpuSession
from nld_trt.engine.session import EngineInfo
from nld_trt.engine.torch.blocks import LayerCaches
from nld_trt.engine.torch.decode_functions import FunctionStep
from nld_trt.engine.torch.draft_head import DraftHeadStep
from nld_trt.engine.torch.eager import EagerBlocks
from nld_trt.engine.torch.forward import FINAL_HIDDEN, TorchForward, layer_caches, views
from nld_trt.engine.torch.network import Network
from nld_trt.engine.torch.weights import EngineWeights
from nld_trt.graph.contract import Phase
from nld_trt.machine.host_device import HostDevice
from nld_trt.machine.threads import default_threads
from nld_trt.progress import SILENT, Progress


class CpuExecutor:
    """Runs the network on the CPU, with PyTorch's operators and the decode operators' definitions."""

    captures_all = False

    def __init__(self, weights: EngineWeights, info: EngineInfo, caches: Caches) -> None:
        self._device = torch.device("cpu")
        self._info = info
        self._caches = caches
        blocks = EagerBlocks(info, self._device)
        self._network = Network(weights, info.config, blocks)
        self._step = FunctionStep(info, self._network.head, self._device, "onnxruntime")
        self._drafter = None if info.config.draft is None else DraftHeadStep(weights, info, self._device)

    def bind(self, phase: Phase, side: Side, rows: range, memory: int, *, samples: bool, repeats: bool) -> BoundForward:
        inputs, outputs = (views(slots, memory, self._device) for slots in (side.inputs, side.outputs))
        return TorchForward(inputs, outputs, layer_caches(self._caches, self._info, rows, self._device), self._run)

    def _run(self, inputs: Mapping[str, Tensor], caches: Sequence[LayerCaches]) -> dict[str, Tensor]:
        states = {} if self._drafter is None else self._drafter.states()
        hidden, layout = self._network.forward(inputs, caches, states)
        positions = self._network.blocks.positions(layout)
        made = self._step.run(inputs, hidden, positions)
        if self._drafter is not None:
            made |= self._drafter.run(inputs, made, [*states.values()], positions, caches[-1])
        return {**made, FINAL_HIDDEN: hidden}


def open_on_cpu(path: Path, info: EngineInfo, progress: Progress = SILENT) -> GpuSession:
    """Open a weight file on the CPU.

    PyTorch's number of threads is one for the whole process; the environment variable NLD_TRT_THREADS sets it.

    Raises:
        InputError: the file is damaged, or the variable is not a number of threads.
        OperationError: there is too little memory.
    """
    if threads := default_threads():
        torch.set_num_threads(threads)
    weights = EngineWeights.load(path, torch.device("cpu"), progress)
    return GpuSession(info, HostDevice(), lambda caches: CpuExecutor(weights, info, caches))

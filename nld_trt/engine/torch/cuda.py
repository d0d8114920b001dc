# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A ``torch`` engine on a GPU: kernels of our own on the session's stream, captured into the session's CUDA graphs.

PyTorch allocates results of operators. Those of captured forwards are in a pool of this engine, which all of them
share, because they never overlap and nothing in it outlives one. The first run of every forward is outside of the pool:
what it makes for later ones, as constants on the device and workspaces of libraries, would be overwritten there by
every graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nld_trt import names
from nld_trt.engine.gpu.arena import Side
from nld_trt.engine.gpu.executor import BoundForward, Caches
from nld_trt.engine.gpu.kernels.cache import cached_cubin
from nld_trt.engine.gpu.kernels.launcher import Kernels
from nld_trt.engine.gpu.session import GpuSession
from nld_trt.engine.session import EngineInfo
from nld_trt.engine.torch.blocks import LayerCaches
from nld_trt.engine.torch.decode_functions import FunctionStep
from nld_trt.engine.torch.decode_kernels import KernelStep, Launcher, fits
from nld_trt.engine.torch.draft_head import DRAFT_OUTPUTS, DraftHeadStep
from nld_trt.engine.torch.forward import FINAL_HIDDEN, layer_caches, views
from nld_trt.engine.torch.fused import FusedBlocks, FusedLayout
from nld_trt.engine.torch.network import Network
from nld_trt.engine.torch.weights import EngineWeights
from nld_trt.errors import OperationError
from nld_trt.graph.contract import Phase
from nld_trt.machine.device import Device
from nld_trt.progress import SILENT, Progress

# The first GPUs that multiply matrices of FP8.
_FP8_CAPABILITY = (8, 9)


class FusedModel:
    """The network and the decode operators as a GPU runs them, over tensors wherever they are."""

    def __init__(
        self,
        weights: EngineWeights,
        info: EngineInfo,
        device: torch.device,
        *,
        processors: int,
        has_fp8: bool,
        launcher: Launcher | None,
    ) -> None:
        """
        Args:
            processors: multiprocessors of the GPU.
            has_fp8: the GPU multiplies matrices of FP8.
            launcher: of the decode kernels; None runs the operators by their definitions.
        """
        blocks = FusedBlocks(info, device, processors=processors, has_fp8=has_fp8)
        self._network: Network[FusedLayout] = Network(weights, info.config, blocks)
        self._functions = FunctionStep(info, self._network.head, device, "tensorrt")
        self._kernels = None if launcher is None else KernelStep(info, self._network.head, device, launcher)
        self._drafter = None if info.config.draft is None else DraftHeadStep(weights, info, device)
        # The kernels cannot verify with an ensemble, as rows of quadratic passes may ask for.
        self._has_ensemble = info.has_ensemble

    def run(
        self,
        inputs: Mapping[str, Tensor],
        caches: Sequence[LayerCaches],
        outputs: Mapping[str, Tensor],
        *,
        samples: bool,
    ) -> None:
        """One forward. ``samples``: some row samples its tokens, or verifies with an ensemble."""
        states = {} if self._drafter is None else self._drafter.states()
        hidden, layout = self._network.forward(inputs, caches, states)
        if FINAL_HIDDEN in outputs:
            outputs[FINAL_HIDDEN].copy_(hidden)
        decided = {name: tensor for name, tensor in outputs.items() if name not in (FINAL_HIDDEN, *DRAFT_OUTPUTS)}
        if self._kernels is not None and not (samples and self._has_ensemble):
            self._kernels.run(inputs, hidden, decided, samples=samples)
        else:
            _fill(decided, self._functions.run(inputs, hidden, self._network.blocks.positions(layout)))
        if self._drafter is not None:
            positions = self._network.blocks.positions(layout)
            drafted = self._drafter.run(inputs, outputs, [*states.values()], positions, caches[-1])
            _fill({name: outputs[name] for name in drafted if name in outputs}, drafted)


def _fill(outputs: Mapping[str, Tensor], made: Mapping[str, Tensor]) -> None:
    for name, tensor in outputs.items():
        tensor.copy_(made[name])


@dataclass
class CudaForward:
    """A forward over one side of a shape.

    Attributes:
        inputs, outputs: the side's tensors, in the session's memory.
        caches: those of each layer, the rows of this forward.
        samples: some row may sample its tokens.
        repeats: the session runs it many times.
        has_run: once at least.
    """

    executor: CudaExecutor
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    caches: Sequence[LayerCaches]
    samples: bool
    repeats: bool
    has_run: bool = False

    def can_be_captured(self) -> bool:
        return self.repeats

    def run(self) -> None:
        self.executor.run(self)
        self.has_run = True


class CudaExecutor:
    """Runs the network on the session's stream."""

    captures_all = True

    def __init__(self, model: FusedModel, info: EngineInfo, caches: Caches, device: torch.device, stream: int) -> None:
        self._model = model
        self._info = info
        self._caches = caches
        self._device = device
        self._stream: torch.cuda.Stream = torch.cuda.ExternalStream(stream, device=device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.MemPool()

    def bind(self, phase: Phase, side: Side, rows: range, memory: int, *, samples: bool, repeats: bool) -> BoundForward:
        inputs, outputs = (views(slots, memory, self._device) for slots in (side.inputs, side.outputs))
        caches = layer_caches(self._caches, self._info, rows, self._device)
        return CudaForward(self, inputs, outputs, caches, samples, repeats)

    def run(self, forward: CudaForward) -> None:
        """Queue a forward.

        Raises:
            OperationError: the GPU's memory is too small, or the GPU has failed.
        """
        pool = (
            torch.cuda.use_mem_pool(self._pool, self._device) if forward.has_run and forward.repeats else nullcontext()
        )
        try:
            with torch.inference_mode(), torch.cuda.stream(self._stream), pool:
                self._model.run(forward.inputs, forward.caches, forward.outputs, samples=forward.samples)
        except RuntimeError as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise OperationError(f"the forward failed on the GPU: {first}") from error


def open_on_gpu(path: Path, info: EngineInfo, progress: Progress = SILENT) -> GpuSession:
    """Open a weight file on the first GPU that this process sees.

    Raises:
        InputError: the file is damaged, or a library that the kernels need is not installed.
        OperationError: the GPU's memory is too small, or the GPU does not work.
    """
    return open_weights(lambda device: EngineWeights.load(path, device, progress), info, progress)


def open_weights(
    load: Callable[[torch.device], EngineWeights], info: EngineInfo, progress: Progress = SILENT
) -> GpuSession:
    """Open a session on weights that ``load`` puts on the GPU; see :func:`open_on_gpu`."""
    gpu = Device.open("running a torch engine on a GPU", names.TORCH)
    device = torch.device("cuda", 0)
    properties = torch.cuda.get_device_properties(device)
    launcher: Launcher | None = None
    if fits(info):
        with progress.stage("compiling the decode kernels"):
            launcher = Kernels(gpu, cached_cubin(f"{properties.major}.{properties.minor}"))
    else:
        progress.note(
            "the engine is larger than the decode kernels take: the operators run by their definitions, which is slower"
        )
    try:
        model = FusedModel(
            load(device),
            info,
            device,
            processors=properties.multi_processor_count,
            has_fp8=(properties.major, properties.minor) >= _FP8_CAPABILITY,
            launcher=launcher,
        )
    except torch.OutOfMemoryError as error:
        raise OperationError(f"the GPU has too little memory free for the weights: {error}") from error
    torch.cuda.synchronize(device)
    # What reordering the weights has taken is given back to the caches.
    torch.cuda.empty_cache()
    return GpuSession(info, gpu, lambda caches: CudaExecutor(model, info, caches, device, gpu.stream))

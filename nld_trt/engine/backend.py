# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The backends. A backend compiles the graph and opens the engines that it compiled; ``BACKENDS`` lists all of them.

The module of a backend, and its library, are loaded when the backend is used. Its :class:`Traits` hold what must be
known before that.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from nld_trt import names
from nld_trt.engine.platforms import capabilities_for, titles_with
from nld_trt.engine.session import EngineInfo, Session
from nld_trt.engine.trt.flavour import TRT, TRT_RTX
from nld_trt.errors import InputError
from nld_trt.graph.contract import Limits, quadratic_width
from nld_trt.machine.doctor import AnyGpu, GpuBuild, Need, Package, Provider
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.progress import SILENT, Progress


@dataclass(frozen=True)
class BuildPlan:
    """The engine that one backend is asked to build.

    Attributes:
        precision: a key of ``graph.precision.PRECISIONS``.
        adapter: include the draft adapter's branch.
        compute_capabilities: GPU targets such as ``12.0``; empty for backends that have none.
        debug: add the contract's debug outputs.
        plugins: run the decode operators as the project's own CUDA kernels, not as standard operators.
        kv_cache: one of ``names.KV_CACHES``.
        head: one of ``names.HEADS``.
    """

    backend: str
    precision: str
    limits: Limits
    adapter: bool
    compute_capabilities: tuple[str, ...] = ()
    debug: bool = False
    plugins: bool = False
    kv_cache: str = names.DEFAULT_KV_CACHE
    head: str = names.DEFAULT_HEAD

    def to_dict(self) -> dict[str, Any]:
        return {
            "backend": self.backend,
            "precision": self.precision,
            "compute_capabilities": list(self.compute_capabilities),
            "adapter": self.adapter,
            "plugins": self.plugins,
            "kv_cache": self.kv_cache,
            "head": self.head,
            **self.limits.to_dict(),
        }

    @property
    def summary(self) -> str:
        """The plan on one line, for the user."""
        limits, drafts = self.limits, self.limits.max_quadratic_length
        targets = "".join(f" sm_{target.replace('.', '')}" for target in self.compute_capabilities)
        prompts = "whole canvas" if limits.max_canvas_length else f"prompt chunk {limits.prompt_chunk}"
        quadratic = f"quadratic {drafts} (passes of {quadratic_width(drafts)} tokens), " if drafts else ""
        return (
            f"{self.backend}{targets} {self.precision}: batch {limits.max_batch_size}, {limits.max_seq_len} tokens, "
            f"block {limits.max_block_length}, {prompts}, {quadratic}"
            f"{'with' if self.adapter else 'without'} draft adapter{', decode plugins' if self.plugins else ''}"
        )


@dataclass(frozen=True)
class Artefact:
    """The engine that a backend built, as the engine manifest records it.

    Attributes:
        files: role to path, relative to the engine folder.
        tools: library name to version.
        proof: facts read back from the built engine, which show that it is what the plan asked for.
    """

    backend: str
    precision: str
    files: Mapping[str, str]
    compute_capabilities: tuple[str, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    proof: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Artefact:
        return cls(**{**values, "compute_capabilities": tuple(values["compute_capabilities"])})


@dataclass(frozen=True)
class Traits:
    """The properties of a backend that are known without loading it.

    Attributes:
        title: the library's usual name.
        implementation: module and class, as ``module:class``.
        device: the device on which its engines compute. One with a ``cpu_precision`` computes on CPUs too.
        precisions: the precisions in which it can compute, the default one first.
        cross_compiles: it compiles for GPUs that this machine does not have.
        takes_plugins: it runs the decode operators as this project's CUDA kernels.
        cpu_precision: for a backend of GPUs that also runs on CPUs, the precision there; otherwise None.
        debug_on_demand: it can add the contract's debug outputs when it loads an engine; other backends have them only
            if they were compiled in.
        build_needs: requirements for building its engines, in addition to those of every graph.
        run_needs: requirements for running its engines, in addition to those for reading and writing text.
        plugin_needs: requirements for compiling the CUDA kernels of ``takes_plugins``.
    """

    name: str
    title: str
    implementation: str
    device: Literal["cpu", "gpu"]
    precisions: tuple[str, ...]
    cross_compiles: bool = False
    takes_plugins: bool = False
    cpu_precision: str | None = None
    debug_on_demand: bool = False
    build_needs: tuple[Need, ...] = ()
    run_needs: tuple[Need, ...] = ()
    plugin_needs: tuple[Need, ...] = ()

    @property
    def default_precision(self) -> str:
        return self.precisions[0]

    def load(self) -> Backend:
        """Import the backend's module and return the backend."""
        module, _, attribute = self.implementation.partition(":")
        made: Backend = getattr(importlib.import_module(module), attribute)()
        return made


class Backend(Protocol):
    """One engine library. Modules import their library only inside these calls."""

    traits: Traits

    def check(self, plan: BuildPlan) -> None:
        """Refuse a plan that cannot be built, before any work.

        Raises:
            InputError: naming the setting and what is possible, or the missing library and its install command.
        """

    def compile(self, checkpoint: Checkpoint, plan: BuildPlan, folder: Path, progress: Progress) -> Artefact:
        """Build into ``folder``/``name`` and check the result.

        Raises:
            OperationError: the compiler failed, or what it built is not what was asked for.
        """

    def open(self, folder: Path, artefact: Artefact, info: EngineInfo, progress: Progress = SILENT) -> Session:
        """Open a session on a built engine.

        Args:
            progress: is told how far the loading is.

        Raises:
            InputError: this machine cannot run it; the message says which machine can.
        """


def _gpu_of(capabilities: Iterable[str]) -> AnyGpu:
    return AnyGpu({name: f"{name}{titles_with(name)}" for name in capabilities})


_ORT = (Package("onnxruntime", "1.32"), Provider("CPUExecutionProvider"))
_TORCH = Package("torch", "2.9", names.TORCH)
# Advice, for a PyTorch that is a build for CPUs on a machine with a GPU.
TORCH_WITH_CUDA = "Install a build of PyTorch with CUDA: see pytorch.org/get-started"
_TRT = Package("tensorrt", "11.0", TRT.extra)
_TRT_RTX = Package("tensorrt-rtx", "1.7", TRT_RTX.extra)

# An engine folder prefers to run its backends in this order. The two TensorRT backends lack FP32 because neither
# library has a fused attention kernel for it.
BACKENDS: dict[str, Traits] = {
    traits.name: traits
    for traits in (
        Traits(
            names.TRT,
            "TensorRT",
            "nld_trt.engine.trt.backend:TrtBackend",
            device="gpu",
            precisions=(names.BF16, names.FP16),
            takes_plugins=True,
            build_needs=(_TRT, _gpu_of(capabilities_for(names.TRT))),
            run_needs=(_TRT, Package("cuda-bindings", "13.0", TRT.extra), _gpu_of(capabilities_for(names.TRT))),
            plugin_needs=(
                Package("nvidia-cuda-nvrtc", "13.0", "plugins"),
                Package("cuda-bindings", "13.0", "plugins"),
            ),
        ),
        Traits(
            names.TRT_RTX,
            "TensorRT for RTX",
            "nld_trt.engine.trt.backend:TrtRtxBackend",
            device="gpu",
            precisions=(names.BF16, names.FP16),
            cross_compiles=True,
            build_needs=(_TRT_RTX,),
            run_needs=(_TRT_RTX, Package("cuda-bindings", "13.0", TRT_RTX.extra), _gpu_of(TRT_RTX.targets)),
        ),
        Traits(
            names.TORCH,
            "PyTorch",
            "nld_trt.engine.torch.backend:TorchBackend",
            device="gpu",
            precisions=(names.BF16, names.FP16, names.FP32),
            cpu_precision=names.FP32,
            debug_on_demand=True,
            run_needs=(_TORCH, GpuBuild("torch", TORCH_WITH_CUDA)),
        ),
        Traits(
            names.ORT,
            "ONNX Runtime",
            "nld_trt.engine.ort.backend:OrtBackend",
            device="cpu",
            precisions=(names.FP32, names.FP16),
            debug_on_demand=True,
            build_needs=_ORT,
            run_needs=_ORT,
        ),
    )
}


def backend(name: str) -> Backend:
    """Load the backend called ``name``.

    Raises:
        InputError: there is none; the message lists what exists.
    """
    if name not in BACKENDS:
        raise InputError(f"there is no backend {name!r}; available: {', '.join(BACKENDS)}")
    return BACKENDS[name].load()

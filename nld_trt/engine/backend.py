# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a backend is: a compiler of the graph, and a way to open what it compiled. The table lists them all.

A backend's module, and its library, load when the backend is asked for; what must be known before that stands in its
:class:`Traits`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from nld_trt import names
from nld_trt.engine.platforms import capabilities_for, titles_with
from nld_trt.engine.session import EngineInfo, Session
from nld_trt.engine.trt.flavour import TRT, TRT_RTX
from nld_trt.errors import InputError
from nld_trt.graph.contract import Limits
from nld_trt.machine.doctor import AnyGpu, Need, Package, Provider
from nld_trt.model.checkpoint import Checkpoint

# Reports a long step: entered when it starts, left when it ends.
Stage = Callable[[str], AbstractContextManager[Any]]


@dataclass(frozen=True)
class BuildPlan:
    """What one backend is asked to build.

    Attributes:
        precision: a key of ``graph.precision.PRECISIONS``.
        adapter: include the draft adapter's branch.
        compute_capabilities: GPU targets such as ``12.0``; empty for backends that have none.
        debug: add the contract's debug outputs.
        plugins: run the decode operators as the project's own CUDA kernels, not as standard operators.
        kv_cache: one of ``build_config.KV_CACHES``.
    """

    backend: str
    precision: str
    limits: Limits
    adapter: bool
    compute_capabilities: tuple[str, ...] = ()
    debug: bool = False
    plugins: bool = False
    kv_cache: str = names.DEFAULT_KV_CACHE


@dataclass(frozen=True)
class Artefact:
    """What a backend built, as the engine manifest keeps it.

    Attributes:
        files: role to path, relative to the engine folder.
        tools: library name to version.
        proof: facts read back from the result that show it is what was asked for.
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
    """What the rest of the package asks about a backend without loading it.

    Attributes:
        title: what people call the library.
        implementation: module and class, as ``module:class``.
        device: what its engines compute on.
        precisions: that it can compute in, the default one first.
        cross_compiles: it compiles for GPUs that this machine does not have.
        takes_plugins: it runs the decode operators as this project's CUDA kernels.
        debug_on_demand: it adds the contract's debug outputs while loading; other backends have what was compiled in.
        build_needs: what a machine needs to build its engines, beside what every graph needs.
        run_needs: what a machine needs to run them, beside what reads and writes text.
        plugin_needs: what a machine needs to compile the CUDA kernels of ``takes_plugins``.
    """

    name: str
    title: str
    implementation: str
    device: Literal["cpu", "gpu"]
    precisions: tuple[str, ...]
    cross_compiles: bool = False
    takes_plugins: bool = False
    debug_on_demand: bool = False
    build_needs: tuple[Need, ...] = ()
    run_needs: tuple[Need, ...] = ()
    plugin_needs: tuple[Need, ...] = ()

    @property
    def default_precision(self) -> str:
        return self.precisions[0]

    def load(self) -> Backend:
        """The backend itself."""
        module, _, attribute = self.implementation.partition(":")
        made: Backend = getattr(importlib.import_module(module), attribute)()
        return made


class Backend(Protocol):
    """One engine library. Modules import their library only inside these calls."""

    traits: Traits

    def check(self, plan: BuildPlan) -> None:
        """Refuse what cannot be built, before any work.

        Raises:
            InputError: naming the setting and what is possible, or the missing library and its install command.
        """

    def compile(self, checkpoint: Checkpoint, plan: BuildPlan, folder: Path, stage: Stage) -> Artefact:
        """Build into ``folder``/``name`` and prove the result.

        Raises:
            OperationError: the compiler failed, or what it built is not what was asked for.
        """

    def open(self, folder: Path, artefact: Artefact, info: EngineInfo) -> Session:
        """A session on a built engine.

        Raises:
            InputError: this machine cannot run it; the message says which machine can.
        """


def _gpu_of(capabilities: Iterable[str]) -> AnyGpu:
    return AnyGpu({name: f"{name}{titles_with(name)}" for name in capabilities})


_ORT = (Package("onnxruntime", "1.32"), Provider("CPUExecutionProvider"))
_TRT = Package("tensorrt", "11.0", TRT.extra)
_TRT_RTX = Package("tensorrt-rtx", "1.7", TRT_RTX.extra)

# In the order in which an engine folder prefers to run them. Neither TensorRT has a fused attention kernel for FP32.
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
    """The backend called ``name``.

    Raises:
        InputError: there is none; the message lists what exists.
    """
    if name not in BACKENDS:
        raise InputError(f"there is no backend {name!r}; available: {', '.join(BACKENDS)}")
    return BACKENDS[name].load()

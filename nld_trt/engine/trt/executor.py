# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT's execution contexts as the executor of a GPU session.

A captured graph belongs to the context that it was captured from, so every shape that repeats has a context of its own
for either side of its arena. Prompt chunks come in every width: they share one context per optimisation profile, which
is bound anew whenever another shape was run in between. All contexts share the caches and one block of scratch memory.

TensorRT for RTX compiles kernels while it runs. By default it compiles those of a shape in the background and runs
others until then, which a captured graph would keep for good: contexts that are captured wait for their kernels.
Contexts that see another shape in every forward never wait; they run kernels made for any shape. All contexts share the
kernels that were compiled for one of them.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nld_trt.engine.gpu.arena import ALIGNMENT, Side
from nld_trt.engine.gpu.executor import BoundForward, Caches
from nld_trt.engine.gpu.session import GpuSession
from nld_trt.engine.session import EngineInfo
from nld_trt.engine.trt.compile import BuilderLog
from nld_trt.engine.trt.flavour import Flavour
from nld_trt.errors import OperationError
from nld_trt.graph import contract
from nld_trt.graph.contract import Phase
from nld_trt.machine.device import Device

# The use of a context, and the library's name of the way in which it then gets its kernels.
Use = Literal["one shape", "any shape"]
_KERNELS: Mapping[Use, str] = {"one shape": "EAGER", "any shape": "NONE"}


@dataclass(frozen=True)
class Plan:
    """A compiled plan, loaded onto the current GPU.

    Attributes:
        library: the Python module of TensorRT or TensorRT for RTX.
        runtime: the library's runtime, which must outlive the engine.
    """

    library: Any
    runtime: Any
    engine: Any
    log: BuilderLog

    @classmethod
    def load(cls, flavour: Flavour, path: Path, info: EngineInfo) -> Plan:
        """Load a plan file and compare its tensors and profiles with the step contract.

        Raises:
            OperationError: the library refuses the plan, or the plan does not follow the contract.
        """
        library, log = flavour.load(), BuilderLog()
        runtime = library.Runtime(log.logger(library))
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            engine = runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise OperationError(f"{path} cannot be loaded", details=log.take())
        problems = _contract_problems(engine, info)
        if problems:
            raise OperationError("the plan does not follow the step contract", details=problems)
        return cls(library, runtime, engine, log)


def _contract_problems(engine: Any, info: EngineInfo) -> list[str]:
    found = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
    expected = {
        name for binding in contract.BINDINGS if info.debug or not binding.debug for name in binding.names(info.config)
    }
    problems = [f"{name} is missing" for name in sorted(expected - found)]
    problems += [f"{name} is not in the contract" for name in sorted(found - expected)]
    found_profiles, profiles = engine.num_optimization_profiles, info.limits.phases
    if found_profiles != len(profiles):
        problems.append(f"it has {found_profiles} optimisation profiles, not {len(profiles)}: {', '.join(profiles)}")
    return problems


class PlanExecutor:
    """Runs a plan in execution contexts. The plan has an optimisation profile of the same name for each phase."""

    # A captured shape has an execution context of its own.
    captures_all = False

    def __init__(self, plan: Plan, info: EngineInfo, device: Device, caches: Caches) -> None:
        """
        Raises:
            OperationError: the library refuses to set up a profile.
        """
        self._plan = plan
        self._info = info
        self._device = device
        self._caches = caches
        self._scratch = device.allocate(max(plan.engine.device_memory_size_v2, ALIGNMENT))
        # The cache of compiled kernels, which the library does not keep alive for the contexts that use it.
        self._kernels: Any = None
        self._settings = self._all_settings()
        self._shared = {profile: SharedContext(self._make(profile, "any shape")) for profile in info.limits.phases}

    def bind(self, phase: Phase, side: Side, rows: range, memory: int, *, samples: bool, repeats: bool) -> BoundForward:
        if not repeats:
            return SharedForward(self, phase, side, rows, memory, self._shared[phase])
        context = self._make(phase, "one shape")
        self.set_tensors(context, side, rows, memory)
        return OwnForward(self, phase, context)

    def queue(self, profile: Phase, context: Any) -> None:
        """Run a context on the session's stream."""
        if not context.execute_async_v3(self._device.stream):
            raise self._failure(f"the engine failed in the {profile} profile")

    def is_capturable(self, context: Any) -> bool:
        """Whether a context may be captured. TensorRT cannot be asked: there an attempt tells."""
        ask = getattr(context, "is_stream_capturable", None)
        return ask is None or bool(ask(self._device.stream))

    def set_tensors(self, context: Any, side: Side, rows: range, memory: int) -> None:
        """Give a context the shapes of a forward, its cache rows, and its small tensors in the arena at ``memory``."""
        for name in self._caches.addresses:
            self._set_cache(context, name, rows.start)
            self._shape(context, name, (len(rows), *self._caches.row_shape))
        for name, slot in (*side.inputs.items(), *side.outputs.items()):
            self._require(context.set_tensor_address(name, memory + slot.offset), f"memory of {name}")
        for name, slot in side.inputs.items():
            self._shape(context, name, slot.shape)

    def _make(self, profile: Phase, use: Use) -> Any:
        """A context of a profile, with the first rows of the caches bound in place."""
        engine = self._plan.engine
        context = engine.create_execution_context(self._settings[use])
        index = self._info.limits.phases.index(profile)
        if context is None or not context.set_optimization_profile_async(index, self._device.stream):
            raise self._failure(f"the {profile} profile cannot be set up")
        # set_device_memory returns nothing: a refusal shows in the library's log only.
        self._plan.log.take()
        context.set_device_memory(self._scratch, engine.device_memory_size_v2)
        if self._plan.log.errors:
            raise self._failure(f"the {profile} profile cannot have its memory")
        for name in self._caches.addresses:
            self._set_cache(context, name, 0)
        self._device.synchronize()
        return context

    def _all_settings(self) -> dict[Use, Any]:
        """The settings that contexts are created with, by their use."""
        library = self._plan.library
        memory = library.ExecutionContextAllocationStrategy.USER_MANAGED
        strategies = getattr(library, "DynamicShapesKernelSpecializationStrategy", None)
        if strategies is None:
            return dict.fromkeys(_KERNELS, memory)
        made = {}
        for use, strategy in _KERNELS.items():
            settings = self._plan.engine.create_runtime_config()
            settings.set_execution_context_allocation_strategy(memory)
            settings.dynamic_shapes_kernel_specialization_strategy = getattr(strategies, strategy)
            if self._kernels is None:
                self._kernels = settings.create_runtime_cache()
            self._require(settings.set_runtime_cache(self._kernels), "a cache of compiled kernels")
            made[use] = settings
        return made

    def _set_cache(self, context: Any, name: str, row: int) -> None:
        """Bind a cache from ``row`` on, as the input and as the output that it is updated through."""
        for tensor in (name, name.replace("past_", "present_")):
            accepted = context.set_tensor_address(tensor, self._caches.address(name, row))
            self._require(accepted, f"memory of {tensor}")

    def _shape(self, context: Any, name: str, shape: tuple[int, ...]) -> None:
        self._require(context.set_input_shape(name, shape), f"shape {shape} of {name}")

    def _require(self, accepted: bool, what: str) -> None:
        if not accepted:
            raise self._failure(f"the library refused {what}")

    def _failure(self, what: str) -> OperationError:
        """An error with the library's messages since the last error."""
        return OperationError(what, details=self._plan.log.take())


@dataclass(frozen=True)
class OwnForward:
    """A forward in a context of its own, bound for good."""

    executor: PlanExecutor
    profile: Phase
    context: Any

    def can_be_captured(self) -> bool:
        return self.executor.is_capturable(self.context)

    def run(self) -> None:
        self.executor.queue(self.profile, self.context)


@dataclass
class SharedContext:
    """The context of a profile, and the side that it was bound to last."""

    context: Any
    bound: Side | None = field(default=None)


@dataclass(frozen=True)
class SharedForward:
    """A forward in the context of its profile, which it binds to itself when it runs."""

    executor: PlanExecutor
    profile: Phase
    side: Side
    rows: range
    memory: int
    shared: SharedContext

    def can_be_captured(self) -> bool:
        return False

    def run(self) -> None:
        if self.shared.bound is not self.side:
            self.executor.set_tensors(self.shared.context, self.side, self.rows, self.memory)
            self.shared.bound = self.side
        self.executor.queue(self.profile, self.shared.context)


def open_session(flavour: Flavour, path: Path, info: EngineInfo, device: Device | None = None) -> GpuSession:
    """Load a plan onto the current GPU, with caches for every row and slot that it was built for.

    Raises:
        InputError: the library or the CUDA bindings are not installed.
        OperationError: the library refuses the plan, or the GPU's memory is too small.
    """
    device = device or Device.open(f"running a {flavour.name} engine", flavour.extra)
    plan = Plan.load(flavour, path, info)
    return GpuSession(info, device, lambda caches: PlanExecutor(plan, info, device, caches), cuts_caches=True)

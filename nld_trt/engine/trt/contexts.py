# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Execution contexts of a plan: what one shape of a forward runs in, on caches and scratch memory that all share.

TensorRT for RTX compiles kernels while it runs. Contexts that are captured wait for the kernels of their very shape: by
default they are compiled in the background, and a graph captured before would keep others for good. Contexts that see
another shape in every forward never wait: theirs are the kernels for any shape. What is compiled for one is kept for
all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from nld_trt.engine.gpu.arena import Side
from nld_trt.engine.gpu.device import Device
from nld_trt.engine.session import EngineInfo
from nld_trt.engine.trt.compile import BuilderLog
from nld_trt.errors import OperationError
from nld_trt.graph.contract import Phase

# What a context is for, and the library's name of how it gets its kernels.
Use = Literal["one shape", "any shape"]
_KERNELS: Mapping[Use, str] = {"one shape": "EAGER", "any shape": "NONE"}


class Contexts:
    """Makes the contexts of one engine. They never run at once, so one block of scratch memory serves all."""

    def __init__(
        self,
        trt: Any,
        engine: Any,
        info: EngineInfo,
        device: Device,
        log: BuilderLog,
        *,
        caches: Mapping[str, int],
        cache_shape: tuple[int, ...],
        scratch: int,
    ) -> None:
        """
        Args:
            caches: addresses by input name.
            cache_shape: of one row.
            scratch: address of the engine's ``device_memory_size_v2`` bytes.
        """
        self._engine = engine
        self._info = info
        self._device = device
        self._log = log
        self._caches = caches
        self._cache_shape = cache_shape
        self._scratch = scratch
        # The library does not keep it alive for the contexts that use it.
        self._kernels: Any = None
        self._settings = self._all_settings(trt)

    def make(self, phase: Phase, use: Use) -> Any:
        """A context of a phase, with the caches bound in place."""
        context = self._engine.create_execution_context(self._settings[use])
        index = self._info.limits.phases.index(phase)
        if context is None or not context.set_optimization_profile_async(index, self._device.stream):
            raise self.failure(f"the {phase} phase cannot be set up")
        # It returns nothing; what it refuses is in the log only.
        self._log.take()
        context.set_device_memory(self._scratch, self._engine.device_memory_size_v2)
        if self._log.errors:
            raise self.failure(f"the {phase} phase cannot have its memory")
        for name, address in self._caches.items():
            for tensor in (name, name.replace("past_", "present_")):
                self._require(context.set_tensor_address(tensor, address), f"memory of {tensor}")
        self._device.synchronize()
        return context

    def bind(self, context: Any, side: Side, rows: int, memory: int) -> None:
        """Give a context the shapes of a forward, and its small bindings in the arena at ``memory``."""
        for name in self._caches:
            self._shape(context, name, (rows, *self._cache_shape))
        for name, slot in (*side.inputs.items(), *side.outputs.items()):
            self._require(context.set_tensor_address(name, memory + slot.offset), f"memory of {name}")
        for name, slot in side.inputs.items():
            self._shape(context, name, slot.shape)

    def failure(self, what: str) -> OperationError:
        """An error with what the library has said since the last one."""
        return OperationError(what, details=self._log.take())

    def _all_settings(self, trt: Any) -> dict[Use, Any]:
        """What contexts are created with."""
        memory = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        strategies = getattr(trt, "DynamicShapesKernelSpecializationStrategy", None)
        if strategies is None:
            return dict.fromkeys(_KERNELS, memory)
        made = {}
        for use, strategy in _KERNELS.items():
            settings = self._engine.create_runtime_config()
            settings.set_execution_context_allocation_strategy(memory)
            settings.dynamic_shapes_kernel_specialization_strategy = getattr(strategies, strategy)
            if self._kernels is None:
                self._kernels = settings.create_runtime_cache()
            self._require(settings.set_runtime_cache(self._kernels), "a cache of compiled kernels")
            made[use] = settings
        return made

    def _shape(self, context: Any, name: str, shape: tuple[int, ...]) -> None:
        self._require(context.set_input_shape(name, shape), f"shape {shape} of {name}")

    def _require(self, accepted: bool, what: str) -> None:
        if not accepted:
            raise self.failure(f"the library refused {what}")

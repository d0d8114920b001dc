# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The session of the embedded engine: ONNX Runtime with IO binding, which updates the caches in place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from nld_trt.engine.ort.threads import Threads
from nld_trt.engine.session import Array, EngineInfo, StepBuffers
from nld_trt.files import opened_path
from nld_trt.graph import contract
from nld_trt.graph.export import load_graph
from nld_trt.graph.precision import PRECISIONS
from nld_trt.interrupts import interruptible
from nld_trt.model.config import ModelConfig

if TYPE_CHECKING:
    import onnxruntime

# Caches grow in steps of this many slots, so that a growing batch does not reallocate every round.
_CAPACITY_STEP = 64
# Caches are replaced by smaller ones when they have more than this many times the slots that are needed.
_SHRINK_AT = 2
# The most bindings that are kept. Prompts end in chunks of every length, so the bindings of a long-lived session would
# grow without limit.
_MAX_BOUND = 256
# ONNX Runtime's option for the folder of the weights where the model is given as bytes.
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
# ONNX Runtime's option for the type in which 4-bit matrix kernels compute, and its values.
_INT4_ACTIVATIONS, _FLOAT32, _INT8 = "session.qdq_matmulnbits_accuracy_level", "1", "4"


@dataclass
class BoundStep:
    """The buffers of a forward and their binding.

    Attributes:
        successor: the forward after this one. The two alternate: its own successor is this one.
        staged: arrays in the engine's precision, by name, for outputs that the decode loop reads as float32.
    """

    buffers: StepBuffers
    binding: onnxruntime.IOBinding
    staged: dict[str, Array]
    successor: BoundStep | None = None


def session_options(threads: int | None = None, *, exact: bool = False) -> onnxruntime.SessionOptions:
    """Make the options with which every session of this backend is opened.

    Args:
        threads: number of threads of the kernels; 0 lets ONNX Runtime use every physical core, and None takes the
            number from the environment, which also says when they spin (:class:`Threads`).
        exact: 4-bit matrix kernels compute with float32 activations instead of activations that are rounded to 8
            bits in groups. This is slower; comparing the two shows the error of that rounding.

    Raises:
        InputError: what the environment says of the threads cannot be used.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    chosen = Threads.from_environment(threads)
    options.intra_op_num_threads = chosen.count
    for name, value in chosen.entries.items():
        options.add_session_config_entry(name, value)
    options.log_severity_level = 3
    options.add_session_config_entry(_INT4_ACTIVATIONS, _FLOAT32 if exact else _INT8)
    return options


class OrtSession:
    """A session that runs ``model.onnx`` on the CPU. It is not thread-safe: one decode loop owns it."""

    device: Literal["cpu", "gpu"] = "cpu"
    # Forwards run on the host's cores, so ``launch`` returns when the forward has finished.
    runs_ahead = False

    def __init__(self, model: Path, info: EngineInfo, threads: int | None = None, *, exact: bool = False) -> None:
        """Load the graph. Debug outputs that ``info`` asks for and the graph lacks are added to it.

        Args:
            threads, exact: see :func:`session_options`.
        """
        import onnxruntime

        options = session_options(threads, exact=exact)
        self.info = info
        source: str | bytes = opened_path(model)
        if info.debug:
            source = _with_debug_outputs(model, info.config)
            options.add_session_config_entry(_WEIGHTS_FOLDER, opened_path(model.parent))
        self._session = interruptible(
            lambda: onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        )
        self._dtype = PRECISIONS[info.precision].numpy_type
        self._caches: dict[str, npt.NDArray[np.generic]] = {}
        self._capacity = 0
        self._rows = 0
        self._bound: dict[tuple[int, int, int, bool, int], BoundStep] = {}

    @property
    def capacity(self) -> int:
        return self._capacity

    def reserve(self, rows: int, capacity: int, *, held: int | None = None) -> None:
        limits = self.info.limits
        assert rows <= limits.max_batch_size and capacity <= limits.capacity
        held = self._capacity if held is None else held
        needed = min(-(-max(capacity, held) // _CAPACITY_STEP) * _CAPACITY_STEP, limits.capacity)
        shrinks = self._capacity > _SHRINK_AT * max(capacity, held)
        if rows <= self._rows and needed <= self._capacity and not shrinks:
            return
        rows = max(rows, self._rows)
        capacity = needed if shrinks else max(needed, self._capacity)
        config = self.info.config
        shape = (rows, config.num_key_value_heads, capacity, config.head_dim)
        for binding in contract.bindings("input", config=config):
            if not binding.per_layer:
                continue
            for name in binding.names(config):
                grown = np.zeros(shape, self._dtype)
                if name in self._caches:
                    old = self._caches[name][:, :, :held]
                    grown[: old.shape[0], :, : old.shape[2]] = old
                self._caches[name] = grown
        self._rows, self._capacity = rows, capacity
        self._bound.clear()

    @property
    def attended_lengths(self) -> tuple[int, ...]:
        """Only the capacity: on the CPU a forward of any length runs as it is."""
        return (self.info.limits.capacity,)

    def row_count(self, rows: int) -> int:
        """Returns ``rows``: on the CPU an empty row costs as much as any other, so none is added."""
        return rows

    def chunk_width(self, tokens: int, most: int) -> int:
        """Returns ``tokens``: padding would cost as much as tokens."""
        return tokens

    def step(self, rows: int, width: int, window: int, samples: bool = False, first: int = 0) -> StepBuffers:
        key = (rows, width, window, samples, first)
        if key not in self._bound:
            if len(self._bound) == _MAX_BOUND:
                self._bound.pop(next(iter(self._bound)))
            # Caches are as long as the live rows need, and attention reads all of them.
            buffers = StepBuffers.allocate(self.info, rows, width, window, samples, self._capacity, first)
            self._bound[key] = self._bind(buffers)
        return self._bound[key].buffers

    def follow(self, buffers: StepBuffers) -> StepBuffers:
        bound = self._bound[buffers.shape]
        if bound.successor is None:
            bound.successor = self._bind(bound.buffers.successor())
        return bound.successor.buffers if buffers is bound.buffers else bound.buffers

    def launch(self, buffers: StepBuffers) -> None:
        bound = self._bound[buffers.shape]
        if buffers is not bound.buffers:
            assert bound.successor is not None
            bound = bound.successor
        self._session.run_with_iobinding(bound.binding)
        for name, array in bound.staged.items():
            bound.buffers.outputs[name][...] = array

    def wait(self, buffers: StepBuffers) -> None:
        """Return at once, because ``launch`` has finished the forward."""

    def clear_row(self, row: int) -> None:
        for cache in self._caches.values():
            cache[row] = 0

    def copy_row(self, source: int, target: int, slots: int) -> None:
        for cache in self._caches.values():
            cache[target, :, :slots] = cache[source, :, :slots]

    def swap_rows(self, one: int, other: int, slots: int) -> None:
        for cache in self._caches.values():
            held = cache[one, :, :slots].copy()
            cache[one, :, :slots] = cache[other, :, :slots]
            cache[other, :, :slots] = held

    def _bind(self, buffers: StepBuffers) -> BoundStep:
        staged: dict[str, Array] = {
            declared.name: np.zeros(buffers.outputs[declared.name].shape, self._dtype)
            for declared in contract.bindings("output", debug=self.info.debug, config=self.info.config)
            if declared.dtype == "activation" and not declared.per_layer and self._dtype != np.float32
        }
        binding = self._session.io_binding()
        for name, array in buffers.inputs.items():
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in {**buffers.outputs, **staged}.items():
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, cache in self._caches.items():
            rows = cache[buffers.first : buffers.first + buffers.rows]
            present = name.replace("past_", "present_")
            binding.bind_input(name, "cpu", 0, rows.dtype, rows.shape, rows.ctypes.data)
            binding.bind_output(present, "cpu", 0, rows.dtype, rows.shape, rows.ctypes.data)
        return BoundStep(buffers, binding, staged)


def _with_debug_outputs(model: Path, config: ModelConfig) -> bytes:
    """Add the contract's debug outputs to the model's outputs. Returns the model without weights, which stay in a file.

    The graph computes them as internal values with their contract names, and ONNX Runtime infers their types.
    """
    graph = load_graph(model)
    present = {value.name for value in graph.graph.output}
    for declared in contract.bindings("output", debug=True, config=config):
        if declared.debug and declared.name not in present:
            graph.graph.output.add(name=declared.name)
    content: bytes = graph.SerializeToString()
    return content

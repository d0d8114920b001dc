# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Recorded ONNX nodes as a program that runs on PyTorch tensors.

The decode operators have one definition: the functions that ``nld_trt.graph.step`` records. ONNX Runtime and TensorRT
read them as a graph, and this module runs the same nodes one after another.

Sizes and everything that is computed from them stay on the host, so that no node waits for a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from onnx import FunctionProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor

from nld_trt.engine.torch.onnx_operators import OPERATORS
from nld_trt.graph.tape import DOMAIN, Tape

# An operator of the domain ``nld``: input tensors to output tensors, in the operator's order.
Call = Callable[..., Sequence[Tensor]]

# Operands by operator that are sizes, axes or counts, and are read on the host.
_HOST_OPERANDS: Mapping[str, tuple[int, ...]] = {
    "CumSum": (1,),
    "Expand": (1,),
    "Pad": (1, 2, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "ReduceMax": (1,),
    "ReduceMin": (1,),
    "ReduceSum": (1,),
    "Slice": (1, 2, 3),
    "Squeeze": (1,),
    "TopK": (1,),
    "Unsqueeze": (1,),
}


@dataclass(frozen=True)
class _Step:
    """One node.

    Attributes:
        run: function from its inputs to its outputs.
        host: places of the operands that stay on the host.
        foldable: it computes the same from the same inputs, so that it need not run again where these are kept.
        of_shape: it reads the shape of its input and not the elements.
    """

    run: Callable[..., Sequence[Tensor]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    host: tuple[int, ...] = ()
    foldable: bool = False
    of_shape: bool = False

    def on_host(self, values: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> bool:
        """Whether the results depend on shapes only. ``values`` are those that do not, ``kept`` those that do."""
        return self.of_shape or (self.foldable and all(name in kept and name not in values for name in self.inputs))


@dataclass(frozen=True)
class _Kept:
    """Values that depend only on the shapes of the inputs: on the host, and copies on the device."""

    host: dict[str, Tensor]
    device: torch.device
    on_device: dict[str, Tensor] = field(default_factory=dict)

    def copied(self, name: str) -> Tensor:
        if name not in self.on_device:
            self.on_device[name] = self.host[name].to(self.device)
        return self.on_device[name]


class Program:
    """Nodes that compute some outputs from inputs.

    What depends only on the shapes of the inputs is computed in the first run with these shapes and kept, on the host
    and where needed on the device. Later runs with them copy nothing to the device, so they can be captured into a CUDA
    graph, unless a node is a branch.
    """

    def __init__(
        self,
        nodes: Iterable[NodeProto],
        outputs: Sequence[str],
        *,
        device: torch.device,
        constants: Mapping[str, Tensor] | None = None,
        calls: Mapping[str, Call] | None = None,
    ) -> None:
        """
        Args:
            nodes: in the order of their computation. Those that no output needs are left out.
            outputs: names of the values to compute.
            device: where the inputs are.
            constants: values that the nodes read and do not compute, on the host.
            calls: the operators of the domain ``nld``, by operator type.
        """
        self.outputs = tuple(outputs)
        self._device = device
        needed = _needed(list(nodes), outputs)
        own = {node.output[0]: _tensor(node.attribute[0].t) for node in needed if node.op_type == "Constant"}
        self._constants = {**(constants or {}), **own}
        self._steps = [self._step(node, calls or {}) for node in needed if node.op_type != "Constant"]
        self._kept: dict[tuple[torch.Size, ...], _Kept] = {}

    @classmethod
    def of_function(cls, function: FunctionProto, device: torch.device) -> Program:
        """The body of a decode operator."""
        return cls(function.node, function.output, device=device)

    @classmethod
    def of_tape(
        cls, tape: Tape, outputs: Sequence[str], device: torch.device, calls: Mapping[str, Call] | None = None
    ) -> Program:
        """Everything that was recorded on a tape and that ``outputs`` need."""
        constants = {tensor.name: _tensor(tensor) for tensor in tape.constants}
        return cls(tape.nodes, outputs, device=device, constants=constants, calls=calls)

    def run(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """The outputs, in their order. ``inputs`` are by name, and may hold more than the nodes read."""
        key = tuple(tensor.shape for tensor in inputs.values())
        if key not in self._kept:
            self._kept[key] = _Kept(dict(self._constants), self._device)
        kept, values = self._kept[key], dict(inputs)
        for step in self._steps:
            if all(name in kept.host for name in step.outputs):
                continue
            if step.on_host(values, kept.host):
                read = [values[name] if name in values else kept.host[name] for name in step.inputs]
                kept.host.update(zip(step.outputs, step.run(*read), strict=True))
                continue
            read = [
                values[name] if name in values else kept.host[name] if place in step.host else kept.copied(name)
                for place, name in enumerate(step.inputs)
            ]
            values.update(zip(step.outputs, step.run(*read), strict=True))
        return tuple(values[name] if name in values else kept.copied(name) for name in self.outputs)

    def _step(self, node: NodeProto, calls: Mapping[str, Call]) -> _Step:
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        inputs, outputs = tuple(node.input), tuple(node.output)
        if node.op_type == "If":
            return self._branch(node, attributes)
        if node.domain == DOMAIN:
            return _Step(calls[node.op_type], inputs, outputs)
        run = _as_tuple(OPERATORS[node.op_type](attributes))
        return _Step(
            run, inputs, outputs, _HOST_OPERANDS.get(node.op_type, ()), foldable=True, of_shape=node.op_type == "Shape"
        )

    def _branch(self, node: NodeProto, attributes: Mapping[str, Any]) -> _Step:
        """A choice that the host makes."""
        graphs = {True: attributes["then_branch"], False: attributes["else_branch"]}
        sides = {
            taken: Program(
                graph.node, [value.name for value in graph.output], device=self._device, constants=self._constants
            )
            for taken, graph in graphs.items()
        }
        read = set().union(*(_free(graph.node) for graph in graphs.values()))
        outer = tuple(sorted(read - self._constants.keys()))

        def run(condition: Tensor, *values: Tensor) -> Sequence[Tensor]:
            return sides[bool(condition)].run(dict(zip(outer, values, strict=True)))

        return _Step(run, (node.input[0], *outer), tuple(node.output))


def _needed(nodes: list[NodeProto], outputs: Sequence[str]) -> list[NodeProto]:
    """The nodes that the outputs need, in their order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= _free([node])
    return kept[::-1]


def _free(nodes: Iterable[NodeProto]) -> set[str]:
    """Names that nodes and their branches read, and that none of the nodes computes."""
    read, made = set(), set()
    for node in nodes:
        read.update(node.input)
        made.update(node.output)
        for attribute in node.attribute:
            read |= _free(attribute.g.node)
    return read - made


def _as_tuple(run: Callable[..., Any]) -> Callable[..., Sequence[Tensor]]:
    def all_outputs(*inputs: Tensor) -> Sequence[Tensor]:
        made = run(*inputs)
        return made if isinstance(made, tuple) else (made,)

    return all_outputs


def _tensor(proto: TensorProto) -> Tensor:
    array = numpy_helper.to_array(proto)
    # Those of Philox fit, as its words have 32 bits.
    return torch.from_numpy(array.astype("int64") if array.dtype == "uint64" else array.copy())

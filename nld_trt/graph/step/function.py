# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Decode operators as ONNX functions: a body of standard operators under a name in the domain ``nld``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from onnx import FunctionProto, NodeProto, helper

from nld_trt.graph.step.tensors import TENSORS, Operator
from nld_trt.graph.tape import DOMAIN, OPSET, Tape, Value


def make_function(operator: Operator, body: Callable[..., Mapping[str, Value]]) -> FunctionProto:
    """The function of an operator.

    Args:
        body: is called with the operator's inputs by name, records nodes, and returns the outputs by name.
    """
    tape = Tape()
    outputs = body(**{name: TENSORS[name].on(tape, name) for name in operator.inputs})
    assert outputs.keys() == set(operator.outputs), operator.name
    _rename(tape, outputs)
    opset = [helper.make_opsetid("", OPSET)]
    made: FunctionProto = helper.make_function(
        DOMAIN, operator.name, operator.inputs, operator.outputs, [*tape.constant_nodes(), *tape.nodes], opset
    )
    return made


def _rename(tape: Tape, outputs: Mapping[str, Value]) -> None:
    """Call the outputs by their names; one that no node of its own makes, such as an input, is copied."""
    made = {name for node in tape.nodes for name in node.output}
    names: dict[str, str] = {}
    for name, value in outputs.items():
        if value.name in made and value.name not in names:
            names[value.name] = name
        else:
            tape.op("Identity", value, name=name)
    _replace(tape.nodes, names)


def _replace(nodes: Iterable[NodeProto], names: Mapping[str, str]) -> None:
    """Names of values in nodes, and in the branches that these have."""
    for node in nodes:
        for listed in (node.input, node.output):
            listed[:] = [names.get(name, name) for name in listed]
        for attribute in node.attribute:
            _replace(attribute.g.node, names)

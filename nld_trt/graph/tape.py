# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A tape that records ONNX nodes in order, with unique names and shared constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

DOMAIN = "nld"
# Operators of TensorRT's own ONNX parser.
TRT_DOMAIN = "trt"
OPSET = 24


class Tape:
    """Records nodes and returns the names of their outputs.

    >>> tape = Tape()
    >>> doubled = tape.op("Add", "x", "x")
    >>> [node.op_type for node in tape.nodes], doubled
    (['Add'], 'add_0')
    """

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._constant_names: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._counts: dict[str, int] = {}
        self._scope = ""

    def scope(self, prefix: str) -> None:
        """Names recorded from here on start with ``prefix``."""
        self._scope = prefix

    def _name(self, stem: str) -> str:
        full = f"{self._scope}{stem}"
        count = self._counts.get(full, 0)
        self._counts[full] = count + 1
        return f"{full}_{count}"

    def op(
        self,
        op_type: str,
        *inputs: str,
        name: str | None = None,
        node: str | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Record a node with one output. ``name`` fixes the output's name, ``node`` the node's."""
        names = [name] if name else None
        return self.ops(op_type, *inputs, outputs=1, names=names, node=node, domain=domain, **attributes)[0]

    def ops(
        self,
        op_type: str,
        *inputs: str,
        outputs: int,
        names: Sequence[str] | None = None,
        node: str | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> list[str]:
        """Record a node with several outputs. ``names`` fixes the outputs' names, ``node`` the node's."""
        node_name = node or self._name(op_type.lower())
        if names is None:
            names = [node_name] if outputs == 1 else [f"{node_name}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(op_type, inputs, names, name=node_name, domain=domain, **attributes))
        return list(names)

    def when(
        self,
        condition: str,
        then: Callable[[Tape], Sequence[str]],
        otherwise: Callable[[Tape], Sequence[str]],
        *,
        elements: Sequence[int],
    ) -> list[str]:
        """One of two lists of values by a scalar bool: only the branch that is taken is computed.

        A branch records on the tape that it is given and may read everything recorded before on this one. What it
        reads is kept in memory for it, so a branch that is seldom taken had better read the sources of a large value.

        Args:
            elements: ONNX element types of the values.
        """
        branches = {"then_branch": then, "else_branch": otherwise}
        graphs = {side: self._branch(side, record, elements) for side, record in branches.items()}
        return self.ops("If", condition, outputs=len(elements), **graphs)

    def _branch(self, side: str, record: Callable[[Tape], Sequence[str]], elements: Sequence[int]) -> GraphProto:
        inner = Tape()
        # Names are unique over all branches, and constants are shared: they belong to the outermost graph.
        inner.constants, inner._constant_names = self.constants, self._constant_names
        inner._counts, inner._scope = self._counts, self._scope
        # A branch must make its values itself, and may have been given some from outside.
        values = [inner.op("Identity", value) for value in record(inner)]
        outputs = [
            helper.make_tensor_value_info(value, element, None)
            for value, element in zip(values, elements, strict=True)
        ]
        return helper.make_graph(inner.nodes, self._name(side), [], outputs)

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """A small constant, recorded once however often it is asked for."""
        array = np.asarray(value, dtype=dtype)
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constant_names:
            name = f"constant_{len(self._constant_names)}"
            self._constant_names[key] = name
            self.constants.append(numpy_helper.from_array(array, name))
        return self._constant_names[key]

    def constant_nodes(self) -> list[NodeProto]:
        """The constants as nodes, for function bodies, which cannot hold initializers."""
        return [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in self.constants]


def make_function(
    name: str, inputs: Sequence[str], outputs: Sequence[str], body: Callable[[Tape], None]
) -> FunctionProto:
    """A model-local function: ``body`` records nodes that read the inputs and make the outputs by name."""
    tape = Tape()
    body(tape)
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_function(DOMAIN, name, inputs, outputs, [*tape.constant_nodes(), *tape.nodes], opset)

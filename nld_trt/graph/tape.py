# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A tape that records ONNX nodes in order, and the values on it, which are combined by Python's operators.

>>> tape = Tape()
>>> tokens = tape.named("tokens", np.int32)
>>> ((tokens + 1) % 7).name, [node.op_type for node in tape.nodes]
('mod_0', ['Add', 'Mod'])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

DOMAIN = "nld"
# Operators of TensorRT's own ONNX parser.
TRT_DOMAIN = "trt"
# Operators that ONNX Runtime adds to the standard ones.
ORT_DOMAIN = "com.microsoft"
OPSET = 24

# The library that a graph is for. It matters only where one of them lacks a type or an operator.
Dialect = Literal["onnxruntime", "tensorrt"]

DType = np.dtype[Any]


class Tape:
    """Records nodes and returns their outputs as values."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._constant_names: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._counts: dict[str, int] = {}
        self._scope = ""

    def scope(self, prefix: str) -> None:
        """Names recorded from here on start with ``prefix``."""
        self._scope = prefix

    @property
    def absent(self) -> Value:
        """An optional input of a node that is left out before others that are not."""
        return self.named("", None)

    def fresh(self, stem: str) -> str:
        """A name that no other value has."""
        return self._name(stem)

    def named(self, name: str, dtype: npt.DTypeLike | None) -> Value:
        """A value that is not recorded here but exists: an input, or a weight.

        Args:
            dtype: None where the elements may have any of several types. Such a value can be cast, and does not
                combine with numbers.
        """
        return Value(self, name, None if dtype is None else np.dtype(dtype))

    def op(
        self,
        op_type: str,
        *inputs: Value,
        dtype: npt.DTypeLike | None = None,
        name: str | None = None,
        node: str | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> Value:
        """Record a node with one output.

        Args:
            dtype: of the output, where it is not that of the first input.
            name: of the output.
            node: name of the node.
        """
        dtypes = [inputs[0].dtype if dtype is None else dtype]
        names = [name] if name else None
        return self.ops(op_type, *inputs, dtypes=dtypes, names=names, node=node, domain=domain, **attributes)[0]

    def ops(
        self,
        op_type: str,
        *inputs: Value,
        dtypes: Sequence[npt.DTypeLike | None],
        names: Sequence[str] | None = None,
        node: str | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> list[Value]:
        """Record a node with an output for each of ``dtypes``. ``names`` are those of the outputs."""
        node_name = node or self._name(op_type.lower())
        if names is None:
            names = [node_name] if len(dtypes) == 1 else [f"{node_name}_{index}" for index in range(len(dtypes))]
        read = [value.name for value in inputs]
        self.nodes.append(helper.make_node(op_type, read, names, name=node_name, domain=domain, **attributes))
        return [self.named(name, dtype) for name, dtype in zip(names, dtypes, strict=True)]

    def when(
        self,
        condition: Value,
        then: Callable[[], Sequence[Value]],
        otherwise: Callable[[], Sequence[Value]],
        *,
        names: Sequence[str] | None = None,
    ) -> list[Value]:
        """One of two lists of values by a bool of one element: only the branch that is taken is computed.

        What ``then`` and ``otherwise`` record belongs to their branch, and may read everything recorded before. What a
        branch reads is kept in memory for it, so a branch that is seldom taken had better read the sources of a large
        value. ``names`` are those of the results.
        """
        graphs = {}
        for side, record in (("then_branch", then), ("else_branch", otherwise)):
            graphs[side], dtypes = self._branch(side, record)
        return self.ops("If", condition, dtypes=dtypes, names=names, **graphs)

    def _branch(self, side: str, record: Callable[[], Sequence[Value]]) -> tuple[GraphProto, list[DType | None]]:
        """The branch as a graph, and the types of its values."""
        outer, self.nodes = self.nodes, []
        try:
            values = self._made_here(record())
            outputs = [helper.make_tensor_value_info(value.name, element_type(value), None) for value in values]
            return helper.make_graph(self.nodes, self._name(side), [], outputs), [value.dtype for value in values]
        finally:
            self.nodes = outer

    def _made_here(self, values: Sequence[Value]) -> list[Value]:
        """The values, with copies of those that the branch was given from outside or that it gives twice.

        A branch must make its values itself. Copying others than these would copy a whole cache in every forward.
        """
        made = {name for node in self.nodes for name in node.output}
        own = []
        for value in values:
            own.append(value if value.name in made else self.op("Identity", value))
            made.discard(value.name)
        return own

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike) -> Value:
        """A small constant, recorded once however often it is asked for."""
        array = np.asarray(value, dtype=dtype)
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constant_names:
            name = f"constant_{len(self._constant_names)}"
            self._constant_names[key] = name
            self.constants.append(numpy_helper.from_array(array, name))
        return self.named(self._constant_names[key], dtype)

    def constant_nodes(self) -> list[NodeProto]:
        """The constants as nodes, for function bodies, which cannot hold initializers."""
        return [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in self.constants]

    def arange(self, stop: Value) -> Value:
        """[stop]: 0 to ``stop`` - 1, in the type of ``stop``, which is a scalar."""
        return self.op("Range", self.constant(0, stop.dtype), stop, self.constant(1, stop.dtype))

    def _name(self, stem: str) -> str:
        full = f"{self._scope}{stem}"
        count = self._counts.get(full, 0)
        self._counts[full] = count + 1
        return f"{full}_{count}"


@dataclass(frozen=True)
class Value:
    """A tensor of the graph. Its operators and methods record the node that computes the result.

    What is combined with a value is another one, or a number or array, which becomes a constant of the same type.
    ``==`` compares names as Python does; :meth:`equals` records the comparison of the elements.

    Attributes:
        dtype: of the elements; None where they may have any of several types.
    """

    tape: Tape
    name: str
    dtype: DType | None

    def __bool__(self) -> bool:
        raise TypeError(f"{self.name} has no truth value while the graph is recorded: use & | ~ and where")

    def __add__(self, other: Operand) -> Value:
        return self._binary("Add", other)

    def __sub__(self, other: Operand) -> Value:
        return self._binary("Sub", other)

    def __rsub__(self, other: npt.ArrayLike) -> Value:
        return self.tape.op("Sub", self._operand(other), self)

    def __mul__(self, other: Operand) -> Value:
        return self._binary("Mul", other)

    def __truediv__(self, other: Operand) -> Value:
        return self._binary("Div", other)

    def __floordiv__(self, other: Operand) -> Value:
        """Of integers. ONNX rounds towards 0, unlike Python."""
        return self._binary("Div", other)

    def __mod__(self, other: Operand) -> Value:
        return self._binary("Mod", other)

    def __and__(self, other: Operand) -> Value:
        return self._binary("And" if self.dtype == np.bool_ else "BitwiseAnd", other)

    def __or__(self, other: Operand) -> Value:
        return self._binary("Or" if self.dtype == np.bool_ else "BitwiseOr", other)

    def __xor__(self, other: Operand) -> Value:
        return self._binary("Xor" if self.dtype == np.bool_ else "BitwiseXor", other)

    def __invert__(self) -> Value:
        return self.tape.op("Not", self)

    def __lt__(self, other: Operand) -> Value:
        return self._binary("Less", other, np.bool_)

    def __le__(self, other: Operand) -> Value:
        return self._binary("LessOrEqual", other, np.bool_)

    def __gt__(self, other: Operand) -> Value:
        return self._binary("Greater", other, np.bool_)

    def __ge__(self, other: Operand) -> Value:
        return self._binary("GreaterOrEqual", other, np.bool_)

    def equals(self, other: Operand) -> Value:
        return self._binary("Equal", other, np.bool_)

    def cast(self, dtype: npt.DTypeLike, *, name: str | None = None) -> Value:
        """``name`` is that of the result."""
        return self.tape.op("Cast", self, dtype=dtype, name=name, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def exp(self) -> Value:
        return self.tape.op("Exp", self)

    def abs(self) -> Value:
        return self.tape.op("Abs", self)

    def unsqueeze(self, *axes: int) -> Value:
        return self.tape.op("Unsqueeze", self, self.tape.constant(axes, np.int64))

    def squeeze(self, *axes: int) -> Value:
        return self.tape.op("Squeeze", self, self.tape.constant(axes, np.int64))

    def column(self) -> Value:
        """[N] to [N, 1]: one value for each row of a matrix."""
        return self.unsqueeze(1)

    def reshape(self, shape: Sequence[int] | Value) -> Value:
        return self.tape.op("Reshape", self, shape if isinstance(shape, Value) else self.tape.constant(shape, np.int64))

    def transpose(self, *order: int) -> Value:
        return self.tape.op("Transpose", self, perm=order)

    def slice(self, start: int, stop: int, *, axis: int) -> Value:
        bounds = (self.tape.constant([bound], np.int64) for bound in (start, stop, axis))
        return self.tape.op("Slice", self, *bounds)

    def pad(self, before: int, after: int, value: float, *, axis: int) -> Value:
        """With ``value`` at both ends of one axis."""
        amounts = self.tape.constant([before, after], np.int64)
        return self.tape.op("Pad", self, amounts, self._operand(value), self.tape.constant([axis], np.int64))

    def shape(self, start: int | None = None, end: int | None = None) -> Value:
        """[axes] int64: lengths of the axes from ``start`` to ``end``, of all unless given."""
        bounds: dict[str, Any] = {name: axis for name, axis in (("start", start), ("end", end)) if axis is not None}
        return self.tape.op("Shape", self, dtype=np.int64, **bounds)

    def size(self, axis: int) -> Value:
        """Scalar int64: the length of an axis."""
        return self.shape(axis, axis + 1).squeeze(0)

    def take(self, indices: Operand, *, axis: int = 0) -> Value:
        """Entries along one axis, as ``numpy.take``."""
        return self.tape.op("Gather", self, self._index(indices), axis=axis)

    def take_along(self, indices: Value, *, axis: int) -> Value:
        """An entry along one axis for each of ``indices``, as ``numpy.take_along_axis``."""
        return self.tape.op("GatherElements", self, indices, axis=axis)

    def cumsum(self, axis: int) -> Value:
        return self.tape.op("CumSum", self, self.tape.constant(axis, np.int64))

    def argmax(self, *, keepdims: bool = False) -> Value:
        """Index of the largest along the last axis, int64; the lowest index wins a tie."""
        return self.tape.op("ArgMax", self, dtype=np.int64, axis=-1, keepdims=int(keepdims), select_last_index=0)

    def sum(self, *axes: int, keepdims: bool = False) -> Value:
        return self._reduced("ReduceSum", axes, keepdims)

    def min(self, *axes: int, keepdims: bool = False) -> Value:
        return self._reduced("ReduceMin", axes, keepdims)

    def max(self, *axes: int, keepdims: bool = False) -> Value:
        return self._reduced("ReduceMax", axes, keepdims)

    def any(self) -> Value:
        """Scalar bool: whether any element of a bool tensor is true."""
        return self.cast(np.int32).max().cast(np.bool_)

    def _reduced(self, op_type: str, axes: Sequence[int], keepdims: bool) -> Value:
        """Over ``axes``, or over all where there are none."""
        over = [self.tape.constant(axes, np.int64)] if axes else []
        return self.tape.op(op_type, self, *over, keepdims=int(keepdims))

    def _binary(self, op_type: str, other: Operand, dtype: npt.DTypeLike | None = None) -> Value:
        return self.tape.op(op_type, self, self._operand(other), dtype=dtype)

    def _operand(self, other: Operand) -> Value:
        if isinstance(other, Value):
            return other
        if self.dtype is None:
            raise TypeError(f"{self.name} has no element type of its own: cast it before it meets a number")
        return self.tape.constant(other, self.dtype)

    def _index(self, indices: Operand) -> Value:
        return indices if isinstance(indices, Value) else self.tape.constant(indices, np.int64)


Operand = Value | npt.ArrayLike


def with_branches(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """The nodes and those of all branches in them."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            yield from with_branches(attribute.g.node)


def element_type(value: Value) -> int:
    """The ONNX element type of a value.

    Raises:
        TypeError: its elements may have any of several types.
    """
    if value.dtype is None:
        raise TypeError(f"{value.name} has no element type of its own")
    return helper.np_dtype_to_tensor_dtype(value.dtype)


def where(condition: Value, yes: Operand, no: Operand) -> Value:
    """``yes`` where ``condition`` holds and ``no`` elsewhere. At least one of them is a value, of the result's type."""
    typed = yes if isinstance(yes, Value) else no
    if not isinstance(typed, Value):
        raise TypeError("where() of two numbers has no type: make a constant of one")
    chosen, other = typed._operand(yes), typed._operand(no)
    if typed.dtype == np.bool_:
        # ONNX Runtime has no Where for them.
        unless = ~condition & other
        return condition & chosen | unless
    return condition.tape.op("Where", condition, chosen, other, dtype=typed.dtype)


def maximum(value: Value, other: Operand) -> Value:
    """The larger of two elements, as ``numpy.maximum``."""
    return value._binary("Max", other)


def minimum(value: Value, other: Operand) -> Value:
    """The smaller of two elements, as ``numpy.minimum``."""
    return value._binary("Min", other)

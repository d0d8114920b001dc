# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The ONNX operators that the decode operators are written in, on PyTorch tensors.

Each entry takes a node's attributes and returns a function from its input tensors to its output, or to a tuple of its
outputs. Operands that ONNX gives as small tensors of sizes or axes (``Reshape``, ``Slice``, ``Unsqueeze``, ...) are on
the host, so that no operator waits for a GPU: a program keeps its constants and everything that is computed from shapes
there. The few operators that are used in one form only, such as ``GatherND`` with one batch axis, exist in that form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

Attributes = Mapping[str, Any]
Operation = Callable[..., Tensor | tuple[Tensor, ...]]

TYPES: Mapping[int, torch.dtype] = {
    TensorProto.BOOL: torch.bool,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    # PyTorch has hardly any operator for unsigned 64-bit integers. Two's complement gives the same bits for everything
    # that Philox does with them.
    TensorProto.UINT64: torch.int64,
    TensorProto.FLOAT: torch.float32,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
}


def _sizes(tensor: Tensor) -> list[int]:
    """A host tensor of sizes or axes as integers."""
    return [int(value) for value in tensor.reshape(-1).tolist()]


def _elementwise(function: Callable[..., Tensor]) -> Callable[[Attributes], Operation]:
    return lambda attributes: function


def _cast(attributes: Attributes) -> Operation:
    target = TYPES[attributes["to"]]
    return lambda x: x.to(target)


def _shape(attributes: Attributes) -> Operation:
    start, end = attributes.get("start", 0), attributes.get("end")
    return lambda x: torch.tensor(x.shape[start:end], dtype=torch.int64)


def _range(attributes: Attributes) -> Operation:
    return lambda start, stop, step: torch.arange(int(start), int(stop), int(step), dtype=stop.dtype)


def _divide(x: Tensor, y: Tensor) -> Tensor:
    """ONNX rounds quotients of integers towards 0."""
    return torch.div(x, y, rounding_mode=None if x.is_floating_point() else "trunc")


def _shift_right(attributes: Attributes) -> Operation:
    assert attributes["direction"] == b"RIGHT"
    # An arithmetic shift copies the sign bit, which a logical shift of the same bits would not.
    return lambda x, by: torch.bitwise_right_shift(x, by) & ((1 << (64 - by)) - 1)


def _gather(attributes: Attributes) -> Operation:
    axis = attributes.get("axis", 0)

    def gather(x: Tensor, index: Tensor) -> Tensor:
        shape = (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
        return x.index_select(axis, index.reshape(-1)).reshape(shape)

    return gather


def _gather_elements(attributes: Attributes) -> Operation:
    axis = attributes.get("axis", 0)
    return lambda x, index: torch.take_along_dim(x, index.long(), axis)


def _gather_nd(attributes: Attributes) -> Operation:
    assert attributes["batch_dims"] == 1

    def gather(x: Tensor, index: Tensor) -> Tensor:
        """x [N, C, ...] and index [N, ..., 1] to [N, ..., ...]."""
        first = torch.arange(len(x), device=x.device).reshape(-1, *[1] * (index.ndim - 2))
        return x[first, index.squeeze(-1)]

    return gather


def _scatter_elements(attributes: Attributes) -> Operation:
    axis = attributes.get("axis", 0)
    return lambda x, index, updates: x.scatter(axis, index.long(), updates)


def _scatter_nd(x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
    return x.index_copy(0, index.squeeze(-1), updates)


def _slice(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor) -> Tensor:
    for start, end, axis in zip(_sizes(starts), _sizes(ends), _sizes(axes), strict=True):
        x = x.narrow(axis, start, min(end, x.shape[axis]) - start)
    return x


def _pad(x: Tensor, amounts: Tensor, value: Tensor, axes: Tensor) -> Tensor:
    (axis,), (before, after) = _sizes(axes), _sizes(amounts)
    ends = [torch.full((*x.shape[:axis], size, *x.shape[axis + 1 :]), value.item(), dtype=x.dtype, device=x.device)
            for size in (before, after)]  # fmt: skip
    return torch.cat([ends[0], x, ends[1]], axis)


def _unsqueeze(x: Tensor, axes: Tensor) -> Tensor:
    for axis in sorted(axis % (x.ndim + axes.numel()) for axis in _sizes(axes)):
        x = x.unsqueeze(axis)
    return x


def _squeeze(x: Tensor, axes: Tensor) -> Tensor:
    return x.squeeze(tuple(_sizes(axes)))


def _reshape(x: Tensor, shape: Tensor) -> Tensor:
    """A size of 0 keeps the size of that axis."""
    return x.reshape([x.shape[axis] if size == 0 else size for axis, size in enumerate(_sizes(shape))])


def _concat(attributes: Attributes) -> Operation:
    return lambda *tensors: torch.cat(tensors, attributes["axis"])


def _expand(x: Tensor, shape: Tensor) -> Tensor:
    return x.broadcast_to(np.broadcast_shapes(x.shape, _sizes(shape)))


def _reduced(function: Callable[[Tensor, list[int], bool], Tensor]) -> Callable[[Attributes], Operation]:
    def make(attributes: Attributes) -> Operation:
        keep = bool(attributes.get("keepdims", 1))

        def reduce(x: Tensor, axes: Tensor | None = None) -> Tensor:
            return function(x, list(range(x.ndim)) if axes is None else _sizes(axes), keep)

        return reduce

    return make


def _sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.sum(axes, keepdim=keep, dtype=x.dtype)


def _product(attributes: Attributes) -> Operation:
    assert not attributes["keepdims"]
    return lambda x: x.prod(dtype=x.dtype)


def _arg_max(attributes: Attributes) -> Operation:
    """The first of equal values, which ``torch.argmax`` does not promise."""
    assert (attributes["axis"], attributes["keepdims"], attributes["select_last_index"]) == (-1, 0, 0)

    def arg_max(x: Tensor) -> Tensor:
        places = torch.arange(x.shape[-1], device=x.device)
        peak = x.amax(-1, keepdim=True)
        # NaN is the largest value, and equal to none.
        return torch.where((x == peak) | x.isnan(), places, x.shape[-1] - 1).amin(-1)

    return arg_max


def _cumulative_sum(attributes: Attributes) -> Operation:
    exclusive = bool(attributes.get("exclusive", 0))

    def sums(x: Tensor, axis: Tensor) -> Tensor:
        running = x.cumsum(int(axis), dtype=x.dtype)
        return running - x if exclusive and not x.is_floating_point() else _shifted(running, int(axis), exclusive)

    return sums


def _shifted(running: Tensor, axis: int, exclusive: bool) -> Tensor:
    """Sums of everything before each place: subtracting the place's own value would round."""
    if not exclusive:
        return running
    before = running.narrow(axis, 0, running.shape[axis] - 1)
    return torch.cat([torch.zeros_like(running.narrow(axis, 0, 1)), before], axis)


def _softmax(attributes: Attributes) -> Operation:
    return lambda x: x.softmax(attributes["axis"])


def _top_k(attributes: Attributes) -> Operation:
    """In descending order; of equal values the one with the lower index is first."""
    assert (attributes["axis"], attributes["largest"], attributes["sorted"]) == (-1, 1, 1)

    def top_k(x: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        values, indices = x.sort(dim=-1, descending=True, stable=True)
        return values[..., : int(size)], indices[..., : int(size)]

    return top_k


OPERATORS: Mapping[str, Callable[[Attributes], Operation]] = {
    "Abs": _elementwise(torch.abs),
    "Add": _elementwise(torch.add),
    "And": _elementwise(torch.logical_and),
    "ArgMax": _arg_max,
    "BitShift": _shift_right,
    "BitwiseAnd": _elementwise(torch.bitwise_and),
    "BitwiseXor": _elementwise(torch.bitwise_xor),
    "Cast": _cast,
    "Concat": _concat,
    "CumSum": _cumulative_sum,
    "Div": _elementwise(_divide),
    "Equal": _elementwise(torch.eq),
    "Exp": _elementwise(torch.exp),
    "Expand": _elementwise(_expand),
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Greater": _elementwise(torch.gt),
    "GreaterOrEqual": _elementwise(torch.ge),
    "Identity": _elementwise(lambda x: x),
    "Less": _elementwise(torch.lt),
    "LessOrEqual": _elementwise(torch.le),
    "Log": _elementwise(torch.log),
    "Max": _elementwise(torch.maximum),
    "Min": _elementwise(torch.minimum),
    "Mod": _elementwise(torch.remainder),
    "Mul": _elementwise(torch.mul),
    "Not": _elementwise(torch.logical_not),
    "Or": _elementwise(torch.logical_or),
    "Pad": _elementwise(_pad),
    "Range": _range,
    "ReduceMax": _reduced(lambda x, axes, keep: x.amax(axes, keep)),
    "ReduceMin": _reduced(lambda x, axes, keep: x.amin(axes, keep)),
    "ReduceProd": _product,
    "ReduceSum": _reduced(_sum),
    "Reshape": _elementwise(_reshape),
    "ScatterElements": _scatter_elements,
    "ScatterND": _elementwise(_scatter_nd),
    "Shape": _shape,
    "Slice": _elementwise(_slice),
    "Softmax": _softmax,
    "Squeeze": _elementwise(_squeeze),
    "Sub": _elementwise(torch.sub),
    "TopK": _top_k,
    "Unsqueeze": _elementwise(_unsqueeze),
    "Where": _elementwise(torch.where),
}

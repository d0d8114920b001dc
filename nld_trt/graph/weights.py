# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Writes ONNX external data tensor by tensor, so that a model never has to fit in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto

from nld_trt.errors import InputError
from nld_trt.graph.precision import Array, ElementType

# Page-aligned tensors can be mapped by the runtimes instead of copied.
_ALIGNMENT = 4096
# The number of elements converted at a time bounds the copy that a change of precision or a transpose makes.
_CHUNK = 1 << 24


class WeightFile:
    """The data file of one graph. ``tensors`` holds the initializers whose data is in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tensors: list[TensorProto] = []
        self._file = path.open("wb")
        self._names: set[str] = set()

    def __enter__(self) -> WeightFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(
        self, name: str, tensor: Array, element: ElementType, *, factor: npt.NDArray[np.float32] | None = None
    ) -> str:
        """Append ``tensor`` converted to ``element``, in row-major order; returns its name.

        Args:
            factor: multiplies the tensor along its last axis, in float32 and before the conversion.

        Raises:
            InputError: a finite weight has no finite value in ``element`` (FP16 overflow).
        """
        if name in self._names:
            return name
        self._names.add(name)
        self._file.write(b"\0" * (-self._file.tell() % _ALIGNMENT))
        offset = self._file.tell()
        for piece in _pieces(tensor):
            self._file.write(element.encode(converted(name, piece, element, factor)))
        proto = TensorProto(name=name, data_type=element.onnx_type, dims=tensor.shape)
        proto.data_location = TensorProto.EXTERNAL
        entries = {"location": self.path.name, "offset": offset, "length": self._file.tell() - offset}
        for key, value in entries.items():
            proto.external_data.add(key=key, value=str(value))
        self.tensors.append(proto)
        return name


@dataclass(frozen=True)
class ExternalTensor:
    """Where the data of an initializer is in the data file, in bytes."""

    name: str
    offset: int
    length: int

    @classmethod
    def of(cls, proto: TensorProto) -> ExternalTensor:
        entries = {entry.key: entry.value for entry in proto.external_data}
        return cls(proto.name, int(entries["offset"]), int(entries["length"]))


def external_tensors(model: ModelProto) -> list[ExternalTensor]:
    """The initializers of ``model`` whose data a :class:`WeightFile` holds."""
    stored = (proto for proto in model.graph.initializer if proto.data_location == TensorProto.EXTERNAL)
    return [ExternalTensor.of(proto) for proto in stored]


def _pieces(tensor: Array) -> Iterator[Array]:
    """Groups of rows that are converted together. A vector or scalar is one piece: a factor applies to it whole."""
    if tensor.ndim < 2:
        yield tensor
        return
    rows = max(1, _CHUNK // max(1, math.prod(tensor.shape[1:])))
    for start in range(0, len(tensor), rows):
        yield tensor[start : start + rows]


def converted(name: str, piece: Array, element: ElementType, factor: npt.NDArray[np.float32] | None = None) -> Array:
    """Weights times ``factor``, which broadcasts, in the type of ``element``.

    Raises:
        InputError: a finite weight has no finite value in ``element`` (FP16 overflow).
    """
    values: Array = piece if factor is None else piece.astype(np.float32) * factor
    with np.errstate(over="ignore"):
        values = values.astype(element.numpy_type, copy=False)
    if element.name == "fp16" and not np.isfinite(values).all():
        raise InputError(
            f"{name} has weights beyond the range of fp16 (65504)", fix="Build with --precision bf16 or fp32."
        )
    return values

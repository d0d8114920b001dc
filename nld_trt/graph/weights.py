# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX external data, written tensor by tensor so that a model never has to fit in memory."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from nld_trt.errors import InputError
from nld_trt.graph.precision import Precision

# Page-aligned tensors can be mapped by the runtimes instead of copied.
_ALIGNMENT = 4096
# Elements converted at a time: bounds the copy that a change of precision or a transpose makes.
_CHUNK = 1 << 24


class WeightFile:
    """The data file of one graph. ``tensors`` holds the initializers that refer into it."""

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

    def add(self, name: str, tensor: npt.NDArray[np.generic], precision: Precision) -> str:
        """Append ``tensor`` converted to ``precision``, in row-major order; returns its name.

        Raises:
            InputError: a finite weight has no finite value in ``precision`` (FP16 overflow).
        """
        if name in self._names:
            return name
        self._names.add(name)
        self._file.write(b"\0" * (-self._file.tell() % _ALIGNMENT))
        offset = self._file.tell()
        rows = max(1, _CHUNK // max(1, tensor[0].size if tensor.ndim > 1 else 1))
        for start in range(0, len(tensor), rows):
            with np.errstate(over="ignore"):
                chunk = np.ascontiguousarray(tensor[start : start + rows].astype(precision.numpy_type))
            if precision.name == "fp16" and not np.isfinite(chunk).all():
                raise InputError(
                    f"{name} has weights beyond the range of fp16 (65504)", fix="Build with --precision bf16 or fp32."
                )
            self._file.write(chunk.tobytes())
        proto = TensorProto(name=name, data_type=precision.onnx_type, dims=tensor.shape)
        proto.data_location = TensorProto.EXTERNAL
        entries = {"location": self.path.name, "offset": offset, "length": self._file.tell() - offset}
        for key, value in entries.items():
            proto.external_data.add(key=key, value=str(value))
        self.tensors.append(proto)
        return name

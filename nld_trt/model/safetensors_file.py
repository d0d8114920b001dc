# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Reads and writes safetensors files with one tensor in memory at a time.

A file is eight bytes of header length, a JSON header (name -> dtype, shape, byte range) and the data.
Reading and writing use plain file I/O: pages of a memory map count as resident memory of the process
that touches them, which for a 27 GB checkpoint ends in the out-of-memory killer.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Any, TypeGuard

import ml_dtypes
import numpy as np
import numpy.typing as npt

from nld_trt.errors import InputError, some

Array = npt.NDArray[Any]

# The format's own dtype names.
NUMPY_TYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "U16": np.dtype(np.uint16),
    "I16": np.dtype(np.int16),
    "U32": np.dtype(np.uint32),
    "I32": np.dtype(np.int32),
    "U64": np.dtype(np.uint64),
    "I64": np.dtype(np.int64),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
}
_DTYPE_NAMES = {dtype: name for name, dtype in NUMPY_TYPES.items()}

# The limit of the format's own library.
_MAX_HEADER_BYTES = 100_000_000
_CHUNK_BYTES = 32 << 20
_LFS_POINTER = b"version https://git-lfs"
_METADATA = "__metadata__"
# transformers refuses files that do not name the framework they come from.
PYTORCH_METADATA = {"format": "pt"}

_REFETCH = "Download the file again: an interrupted download leaves files like this."


@dataclass(frozen=True)
class TensorInfo:
    """The header entry of one tensor. ``start`` and ``stop`` are byte positions in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def nbytes(self) -> int:
        return self.stop - self.start


def dtype_name(dtype: npt.DTypeLike) -> str:
    """Returns the format's name of a NumPy dtype. Raises KeyError for a dtype without one."""
    return _DTYPE_NAMES[np.dtype(dtype)]


def byte_size(dtype: str, shape: Iterable[int]) -> int:
    return NUMPY_TYPES[dtype].itemsize * math.prod(shape)


class SafetensorsFile:
    """A file whose header was checked. Tensors are read on request."""

    def __init__(self, path: Path, tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]) -> None:
        self.path = path
        self.tensors = tensors
        self.metadata = metadata

    @classmethod
    def open(cls, path: Path) -> SafetensorsFile:
        """Read and check the header. No tensor data is read.

        Raises:
            InputError: the file is missing or truncated, its header is not valid, dtypes are unknown, or byte ranges do
                not fit the shapes, overlap, leave gaps or exceed the file. Faults of tensors are listed.
        """
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                prefix = file.read(len(_LFS_POINTER))
                if prefix == _LFS_POINTER:
                    raise InputError(
                        f"{path} is a Git LFS pointer, not the weights", fix=f"Run: git -C {path.parent} lfs pull"
                    )
                if size < 8:
                    raise InputError(f"{path} is truncated: {size} bytes, no header", fix=_REFETCH)
                (length,) = struct.unpack("<Q", prefix[:8])
                if length > min(size - 8, _MAX_HEADER_BYTES):
                    raise InputError(
                        f"{path} is truncated or not a safetensors file: it announces a header of {length} bytes "
                        f"and has {size - 8} bytes left",
                        fix=_REFETCH,
                    )
                file.seek(8)
                header = _parse_header(path, file.read(length))
        except OSError as error:
            raise InputError(f"Cannot read {path}: {error.strerror}") from error
        metadata = header.pop(_METADATA, {})
        if not isinstance(metadata, dict):
            raise InputError(f"{path} has a damaged header: {_METADATA} is not an object", fix=_REFETCH)
        tensors, problems = _tensor_infos(header, data_start=8 + length)
        problems = problems or _layout_problems(tensors, data_start=8 + length, size=size)
        if problems:
            raise InputError(f"{path} is damaged", details=some(problems), fix=_REFETCH)
        return cls(path, tensors, metadata)

    def read(self, name: str) -> Array:
        """Read one whole tensor in its stored dtype. Raises KeyError for an unknown name."""
        info = self.tensors[name]
        data = np.empty(info.nbytes, np.uint8)
        with self.path.open("rb") as file:
            file.seek(info.start)
            self._fill(file, data, name)
        return data.view(NUMPY_TYPES[info.dtype]).reshape(info.shape)

    def chunks(self, name: str, chunk_bytes: int = _CHUNK_BYTES) -> Generator[Array, None, None]:
        """Yield the tensor's elements in order, as one-dimensional pieces of at most ``chunk_bytes``.

        Every piece uses the same memory, so it is valid until the next one is taken.
        """
        info = self.tensors[name]
        buffer = np.empty(min(chunk_bytes, info.nbytes), np.uint8)
        with self.path.open("rb") as file:
            file.seek(info.start)
            for done in range(0, info.nbytes, chunk_bytes):
                piece = buffer[: min(chunk_bytes, info.nbytes - done)]
                self._fill(file, piece, name)
                yield piece.view(NUMPY_TYPES[info.dtype])

    def _fill(self, file: BufferedReader, data: npt.NDArray[np.uint8], name: str) -> None:
        if file.readinto(data.data) != data.nbytes:
            raise InputError(f"{self.path} became shorter while {name} was read")


def _parse_header(path: Path, text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) != len(names):
            repeated = sorted({name for name in names if names.count(name) > 1})
            raise InputError(f"{path} has a damaged header: repeated names {', '.join(repeated)}", fix=_REFETCH)
        return dict(pairs)

    try:
        header = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a safetensors file: its header is not JSON ({error})", fix=_REFETCH) from error
    if not isinstance(header, dict):
        raise InputError(f"{path} is not a safetensors file: its header is not an object", fix=_REFETCH)
    return header


def _tensor_infos(header: Mapping[str, Any], data_start: int) -> tuple[dict[str, TensorInfo], list[str]]:
    tensors, problems = {}, []
    for name, entry in header.items():
        dtype, shape, offsets = (
            entry.get(key) if isinstance(entry, dict) else None for key in ("dtype", "shape", "data_offsets")
        )
        if not _is_sizes(shape) or not _is_sizes(offsets) or len(offsets) != 2:
            problems.append(f"{name}: the header entry has no valid shape and data_offsets")
        elif not isinstance(dtype, str) or dtype not in NUMPY_TYPES:
            problems.append(f"{name}: unknown dtype {dtype!r}; known: {', '.join(NUMPY_TYPES)}")
        elif offsets[1] - offsets[0] != byte_size(dtype, shape):
            problems.append(
                f"{name}: {dtype} {shape} takes {byte_size(dtype, shape)} bytes, its byte range is {offsets}"
            )
        else:
            tensors[name] = TensorInfo(dtype, tuple(shape), data_start + offsets[0], data_start + offsets[1])
    return tensors, problems


def _is_sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 63 for item in value)


def _layout_problems(tensors: Mapping[str, TensorInfo], data_start: int, size: int) -> list[str]:
    problems = []
    position = data_start
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)):
        if info.start != position:
            fault = "overlaps the tensor before it" if info.start < position else "leaves a gap before it"
            problems.append(f"{name}: its data {fault} (starts at byte {info.start}, expected {position})")
        if info.stop > size:
            problems.append(f"{name}: its data ends at byte {info.stop}, the file at byte {size}")
        position = max(position, info.stop)
    if position < size:
        problems.append(f"{size - position} bytes at the end belong to no tensor")
    return problems


class SafetensorsWriter:
    """Writes a file. Its tensors are declared first and then written one at a time, in any order.

    Data is laid out by decreasing element size, otherwise in the declared order, so that every tensor is
    aligned for readers that map the file; files of one dtype keep the declared order.
    """

    def __init__(
        self,
        path: Path,
        tensors: Mapping[str, tuple[str, tuple[int, ...]]],
        metadata: Mapping[str, str] = PYTORCH_METADATA,
    ) -> None:
        """Create ``path`` and write its header. ``tensors`` maps names to (dtype name, shape)."""
        order = sorted(tensors, key=lambda name: -NUMPY_TYPES[tensors[name][0]].itemsize)
        header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
        position = 0
        for name in order:
            dtype, shape = tensors[name]
            end = position + byte_size(dtype, shape)
            header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
            position = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        data_start = 8 + len(text)
        self.path = path
        self.tensors, _ = _tensor_infos({name: header[name] for name in order}, data_start)
        self._missing = set(self.tensors)
        self._file = path.open("wb")
        self._file.write(struct.pack("<Q", len(text)) + text)

    def write(self, name: str, tensor: Array) -> None:
        """Write a whole tensor, which must have the declared dtype and shape."""
        info = self.tensors[name]
        if (dtype_name(tensor.dtype), tensor.shape) != (info.dtype, info.shape):
            raise ValueError(f"{name} was declared {info.dtype} {info.shape}, given {tensor.dtype} {tensor.shape}")
        self.write_chunks(name, [tensor])

    def write_chunks(self, name: str, chunks: Iterable[Array | bytes]) -> None:
        """Write a tensor from consecutive pieces: raw bytes, or arrays of any shape in row-major order."""
        info = self.tensors[name]
        if name not in self._missing:
            raise ValueError(f"{name} was written twice")
        self._file.seek(info.start)
        position = info.start
        for chunk in chunks:
            data = memoryview(chunk) if isinstance(chunk, bytes) else _bytes_of(chunk)
            position += len(data)
            if position > info.stop:
                break
            self._file.write(data)
        if position != info.stop:
            raise ValueError(f"{name} was declared with {info.nbytes} bytes, given {position - info.start}")
        self._missing.remove(name)

    def __enter__(self) -> SafetensorsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None and self._missing:
            raise ValueError(f"declared and never written: {', '.join(sorted(self._missing))}")


def _bytes_of(tensor: Array) -> memoryview:
    return np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data

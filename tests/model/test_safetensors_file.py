# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Reading and writing safetensors: agreement with the format's own library, and damaged files."""

import json
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nld_trt.errors import InputError
from nld_trt.model.safetensors_file import NUMPY_TYPES, SafetensorsFile, SafetensorsWriter, dtype_name

shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)
names = st.text(min_size=1, max_size=12).filter(lambda name: name != "__metadata__" and name.isprintable())
declarations = st.dictionaries(names, st.tuples(st.sampled_from(sorted(NUMPY_TYPES)), shapes), max_size=6)


def random_tensors(declared: dict[str, tuple[str, tuple[int, ...]]], seed: int = 0) -> dict[str, np.ndarray]:
    """Tensors of random bytes; truth values are 0 or 1."""
    random = np.random.default_rng(seed)
    tensors = {}
    for name, (dtype, shape) in declared.items():
        size = NUMPY_TYPES[dtype].itemsize * int(np.prod(shape))
        data = random.integers(0, 2 if dtype == "BOOL" else 256, size, dtype=np.uint8)
        tensors[name] = data.view(NUMPY_TYPES[dtype]).reshape(shape)
    return tensors


def write(path: Path, tensors: dict[str, np.ndarray]) -> None:
    declared = {name: (dtype_name(tensor.dtype), tensor.shape) for name, tensor in tensors.items()}
    with SafetensorsWriter(path, declared) as writer:
        for name, tensor in tensors.items():
            writer.write(name, tensor)


@given(declarations, st.integers(0, 2**16))
@settings(max_examples=80)
def test_what_is_written_is_read_back(declared: dict, seed: int) -> None:
    tensors = random_tensors(declared, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.safetensors")
        write(path, tensors)
        file = SafetensorsFile.open(path)
        assert file.tensors.keys() == tensors.keys()
        for name, tensor in tensors.items():
            read = file.read(name)
            assert (read.dtype, read.shape, read.tobytes()) == (tensor.dtype, tensor.shape, tensor.tobytes())


@given(declarations, st.integers(0, 2**16))
@settings(max_examples=80)
def test_the_library_reads_what_is_written(declared: dict, seed: int) -> None:
    tensors = random_tensors(declared, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.safetensors")
        write(path, tensors)
        read = dict(safetensors.deserialize(path.read_bytes()))
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        found = (read[name]["dtype"], tuple(read[name]["shape"]), bytes(read[name]["data"]))
        assert found == (dtype_name(tensor.dtype), tensor.shape, tensor.tobytes())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float8_e4m3fn, torch.uint8])
def test_what_torch_wrote_is_read(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.arange(12).reshape(3, 4).to(dtype)
    safetensors.torch.save_file({"x": tensor}, tmp_path / "x.safetensors")
    read = SafetensorsFile.open(tmp_path / "x.safetensors").read("x")
    np.testing.assert_array_equal(read.astype(np.float32), tensor.float().numpy())


def test_torch_loads_mixed_dtypes_aligned(tmp_path: Path) -> None:
    tensors = {"odd": np.ones(3, ml_dtypes.bfloat16), "wide": np.arange(5, dtype=np.float32), "byte": np.ones(1, "u1")}
    write(tmp_path / "x.safetensors", tensors)
    with safetensors.safe_open(tmp_path / "x.safetensors", framework="pt") as file:
        assert file.get_tensor("wide").tolist() == [0, 1, 2, 3, 4]


def test_tensors_of_one_dtype_keep_the_declared_order(tmp_path: Path) -> None:
    write(tmp_path / "x.safetensors", {name: np.zeros(2, np.float32) for name in ("z", "a", "m")})
    file = SafetensorsFile.open(tmp_path / "x.safetensors")
    assert sorted(file.tensors, key=lambda name: file.tensors[name].start) == ["z", "a", "m"]


def test_metadata_names_the_framework(tmp_path: Path) -> None:
    write(tmp_path / "x.safetensors", {"x": np.zeros(1)})
    assert SafetensorsFile.open(tmp_path / "x.safetensors").metadata == {"format": "pt"}


def test_chunks_join_to_the_tensor(tmp_path: Path) -> None:
    tensor = np.arange(1000, dtype=np.float32).reshape(10, 100)
    write(tmp_path / "x.safetensors", {"x": tensor})
    chunks = [chunk.copy() for chunk in SafetensorsFile.open(tmp_path / "x.safetensors").chunks("x", 64)]
    assert max(chunk.nbytes for chunk in chunks) <= 64
    np.testing.assert_array_equal(np.concatenate(chunks), tensor.reshape(-1))


def test_writer_takes_raw_bytes_in_pieces(tmp_path: Path) -> None:
    with SafetensorsWriter(tmp_path / "x.safetensors", {"x": ("I32", (4,))}) as writer:
        writer.write_chunks("x", [b"\1\0\0\0\2\0", b"\0\0", np.array([3, 4], np.int32)])
    assert SafetensorsFile.open(tmp_path / "x.safetensors").read("x").tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "use",
    [
        lambda writer: writer.write("x", np.zeros(5, np.float32)),
        lambda writer: writer.write("x", np.zeros(4, np.int32)),
        lambda writer: writer.write_chunks("x", [b"\0" * 15]),
        lambda writer: writer.write_chunks("x", [b"\0" * 17]),
        lambda writer: (writer.write("x", np.zeros(4, np.float32)), writer.write("x", np.zeros(4, np.float32))),
        lambda writer: None,
    ],
    ids=["other shape", "other dtype", "too short", "too long", "twice", "never"],
)
def test_writer_insists_on_what_was_declared(tmp_path: Path, use: Callable[[SafetensorsWriter], object]) -> None:
    with (
        pytest.raises(ValueError, match=r"x|never written"),
        SafetensorsWriter(tmp_path / "x.safetensors", {"x": ("F32", (4,))}) as writer,
    ):
        use(writer)


def raw_file(path: Path, header: object, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(start: int, stop: int, dtype: str = "U8", shape: list | None = None) -> dict:
    return {"dtype": dtype, "shape": [stop - start] if shape is None else shape, "data_offsets": [start, stop]}


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        SafetensorsFile.open(path)
    return str(caught.value)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    assert "Cannot read" in refusal(tmp_path / "x.safetensors")


@pytest.mark.parametrize("size", [0, 5, 9, 300])
def test_truncated_file_is_refused(tmp_path: Path, tiny_a: Path, size: int) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes((tiny_a / "model.safetensors").read_bytes()[:size])
    assert "truncated" in refusal(path)


def test_truncated_data_names_the_tensors_that_are_cut(tmp_path: Path, tiny_a: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes((tiny_a / "model.safetensors").read_bytes()[:-10])
    assert "encoder.norm.weight: its data ends at byte 429456, the file at byte 429446" in refusal(path)


def test_header_longer_than_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    assert f"header of {1 << 60} bytes" in refusal(path)


@pytest.mark.parametrize("header", [b"{", b"\xff\xfe", b"[]", b"3", b"[" * 5000], ids=repr)
def test_header_that_is_not_an_object_is_refused(tmp_path: Path, header: bytes) -> None:
    assert "not a safetensors file" in refusal(raw_file(tmp_path / "x", header))


def test_git_lfs_pointer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", encoding="utf-8")
    assert "Git LFS pointer" in refusal(path)


@pytest.mark.parametrize("dtype", ["F7", None, 3, ["F32"]])
def test_unknown_dtype_is_refused(tmp_path: Path, dtype: object) -> None:
    assert f"x: unknown dtype {dtype!r}" in refusal(raw_file(tmp_path / "x", {"x": entry(0, 4, dtype)}, b"1234"))


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        {},
        entry(0, 4) | {"shape": [-4]},
        entry(0, 4) | {"shape": [1 << 63]},
        entry(0, 4) | {"data_offsets": [4]},
    ],
)
def test_incomplete_entry_is_refused(tmp_path: Path, broken: object) -> None:
    assert "x: the header entry has no valid shape" in refusal(raw_file(tmp_path / "x", {"x": broken}, b"1234"))


def test_byte_range_that_does_not_fit_the_shape_is_refused(tmp_path: Path) -> None:
    header = {"x": entry(0, 4, "F32", [2])}
    assert "takes 8 bytes" in refusal(raw_file(tmp_path / "x", header, b"1234"))


def test_overlapping_tensors_are_refused(tmp_path: Path) -> None:
    header = {"x": entry(0, 4), "y": entry(2, 6)}
    assert "y: its data overlaps" in refusal(raw_file(tmp_path / "x", header, b"123456"))


def test_gap_between_tensors_is_refused(tmp_path: Path) -> None:
    header = {"x": entry(0, 2), "y": entry(4, 6)}
    assert "y: its data leaves a gap" in refusal(raw_file(tmp_path / "x", header, b"123456"))


def test_data_beyond_the_end_is_refused(tmp_path: Path) -> None:
    assert "ends at byte" in refusal(raw_file(tmp_path / "x", {"x": entry(0, 4000)}, b"1234"))


def test_bytes_after_the_last_tensor_are_refused(tmp_path: Path) -> None:
    assert "2 bytes at the end" in refusal(raw_file(tmp_path / "x", {"x": entry(0, 2)}, b"1234"))


def test_repeated_name_is_refused(tmp_path: Path) -> None:
    one = json.dumps(entry(0, 2))
    header = f'{{"x": {one}, "x": {one}}}'.encode()
    assert "repeated names x" in refusal(raw_file(tmp_path / "x", header, b"12"))


def test_all_damaged_tensors_are_listed(tmp_path: Path) -> None:
    text = refusal(raw_file(tmp_path / "x", {"x": entry(0, 2, "F7"), "y": {}, "z": entry(0, 3, "F16")}))
    assert all(f"{name}: " in text for name in "xyz")


def test_file_cut_after_opening_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write(path, {"x": np.zeros(100, np.float32)})
    file = SafetensorsFile.open(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="became shorter"):
        file.read("x")


@given(st.lists(st.tuples(st.integers(0, 399), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=200)
def test_damaged_bytes_are_refused_or_harmless(damage: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.safetensors")
        write(path, {"a": np.zeros((2, 3), np.float32), "b": np.zeros(5, np.int8), "c": np.zeros((), np.float16)})
        data = bytearray(path.read_bytes())
        for position, value in damage:
            data[position % len(data)] = value
        path.write_bytes(data)
        try:
            file = SafetensorsFile.open(path)
        except InputError:
            return
        for name in file.tensors:
            file.read(name)

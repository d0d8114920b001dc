# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""JSON files, hashes and sizes."""

import hashlib
import os
from pathlib import Path

import pytest

from nld_trt.errors import InputError
from nld_trt.files.io import read_json, write_json
from nld_trt.files.records import human_bytes, sha256_of


def test_json_round_trip_keeps_order_and_letters(tmp_path: Path) -> None:
    value = {"b": 1, "a": "é", "n": None}
    write_json(tmp_path / "x.json", value)
    assert list(read_json(tmp_path / "x.json").items()) == list(value.items())
    assert "é" in (tmp_path / "x.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"3", b"\xff\xfe\x00", b"[" * 100000])
def test_json_that_is_not_an_object_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(InputError, match=r"x\.json"):
        read_json(tmp_path / "x.json")


def test_json_error_names_the_place(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{\n "a": }', encoding="utf-8")
    with pytest.raises(InputError, match="line 2, column 7"):
        read_json(tmp_path / "x.json")


def test_missing_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_json(tmp_path / "x.json")


def test_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "x.json") == {"a": 1}


def test_sha256_is_that_of_the_whole_file(tmp_path: Path) -> None:
    data = os.urandom((8 << 20) + 17)
    (tmp_path / "x").write_bytes(data)
    assert sha256_of(tmp_path / "x") == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (16_979_107_840, "17.0 GB"), (10**16, "10000.0 TB")],
)
def test_sizes_read_like_model_cards(size: int, text: str) -> None:
    assert human_bytes(size) == text

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Memory is that of one layer, however many there are."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nld_trt.model.convert import convert
from nld_trt.model.synthetic import Geometry, write_synthetic

SHALLOW = Geometry(
    hidden_size=1024,
    intermediate_size=3072,
    num_hidden_layers=2,
    num_attention_heads=8,
    num_key_value_heads=2,
    vocab_size=4096,
    rope_theta=1e6,
)
DEEP = replace(SHALLOW, num_hidden_layers=14)
# Twelve layers more are 300 MB in BF16 and twice that in float32.
ALLOWED_GROWTH = 100e6


@pytest.mark.slow
@pytest.mark.parametrize("qformat", ["int4_rtn", "fp8_pc_pt"])
def test_peak_memory_does_not_grow_with_depth(qformat: str, tmp_path: Path) -> None:
    peaks = {}
    for name, geometry in (("shallow", SHALLOW), ("deep", DEEP)):
        write_synthetic(geometry, tmp_path / f"{name}-release")
        convert(tmp_path / f"{name}-release", tmp_path / name)
        arguments = ("quantize", tmp_path / name, "-o", tmp_path / f"{name}-q", "--qformat", qformat, "--json")
        done = subprocess.run([sys.executable, "-m", "nld_trt", *map(str, arguments)], capture_output=True, check=True)
        peaks[name] = json.loads(done.stdout)["manifest"]["quantization"]["run"]["peak_resident_bytes"]
    assert peaks["deep"] - peaks["shallow"] < ALLOWED_GROWTH

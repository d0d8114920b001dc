# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Rotary numbers against values in float64 (docs/model.md, Rotary positions) and against the golden forwards."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from nld_trt.model import rotary
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.config import RopeParameters

ROPE = RopeParameters(
    rope_type="yarn",
    rope_theta=1e6,
    factor=16.0,
    original_max_position_embeddings=16384,
    beta_fast=32.0,
    beta_slow=1.0,
    mscale=1.0,
    mscale_all_dim=1.0,
    llama_4_scaling_beta=0.1,
)

# index: inverse frequency for theta 1e6 (3B, 8B) and 1e9 (14B), head_dim 128
FREQUENCIES = {
    0: (1.000000000e00, 1.000000000e00),
    1: (8.058421878e-01, 7.233941627e-01),
    8: (1.778279410e-01, 7.498942093e-02),
    13: (6.042963902e-02, 1.485508017e-02),
    14: (4.869675252e-02, 9.906540917e-03),
    16: (3.162277660e-02, 4.305425771e-03),
    20: (1.333521432e-02, 6.977792071e-04),
    21: (1.015346367e-02, 4.177401975e-04),
    24: (4.382954446e-03, 5.930107079e-05),
    25: (3.282066090e-03, 1.906579931e-05),
    28: (1.325179424e-03, 7.217387404e-06),
    32: (3.382352941e-04, 1.976423538e-06),
    36: (4.961135334e-05, 5.412277021e-07),
    37: (2.123880206e-05, 3.915209604e-07),
    48: (1.976423538e-06, 1.111424631e-08),
    63: (7.755861005e-08, 8.639826421e-11),
}
# position: query scale
SCALES = {
    0: 1.0,
    16383: 1.0,
    16384: 1.0693147,
    32767: 1.0693147,
    32768: 1.1098612,
    65536: 1.1609438,
    131072: 1.2197225,
    262143: 1.2772589,
}


@pytest.mark.parametrize(("column", "theta"), [(0, 1e6), (1, 1e9)])
def test_released_frequencies(column: int, theta: float) -> None:
    computed = rotary.inverse_frequencies(replace(ROPE, rope_theta=theta), 128)
    expected = [values[column] for values in FREQUENCIES.values()]
    np.testing.assert_allclose(computed[list(FREQUENCIES)], expected, rtol=1e-9)


def test_base_model_factor_below_one_raises_low_frequencies() -> None:
    base = replace(ROPE, factor=0.25)
    assert rotary.inverse_frequencies(base, 128)[63] == pytest.approx(4.964e-06, rel=1e-3)


def test_frequencies_differ_from_plain_rotary_embedding() -> None:
    plain = 1e6 ** (-np.arange(64) / 64)
    assert rotary.inverse_frequencies(ROPE, 128)[36] < plain[36] / 5


def test_cos_and_sin_have_magnitude_one() -> None:
    cos, sin = rotary.cos_sin_table(ROPE, 128, 400)
    np.testing.assert_allclose(np.hypot(cos, sin), 1.0, rtol=1e-6)


def test_released_query_scales() -> None:
    np.testing.assert_allclose(rotary.query_scale(ROPE, list(SCALES)), list(SCALES.values()), rtol=1e-7)


def test_golden_frequencies(golden_folder: Path) -> None:
    config = Checkpoint.open(golden_folder).config
    expected = load_file(golden_folder / "forwards.safetensors")["rope.inv_freq"]
    np.testing.assert_allclose(rotary.inverse_frequencies(config.rope, config.head_dim), expected, rtol=1e-6)


def test_golden_query_scale(golden_folder: Path) -> None:
    expected = load_file(golden_folder / "forwards.safetensors")["rope.query_scale"]
    computed = rotary.query_scale(Checkpoint.open(golden_folder).config.rope, np.arange(len(expected)))
    np.testing.assert_allclose(computed, expected, rtol=1e-6)


def test_golden_magnitude(golden_folder: Path) -> None:
    expected = load_file(golden_folder / "forwards.safetensors")["rope.attention_factor"]
    config = Checkpoint.open(golden_folder).config
    cos, sin = rotary.cos_sin_table(config.rope, config.head_dim, 40)
    np.testing.assert_allclose(np.hypot(cos, sin), expected[0], rtol=1e-6)


def test_table_rows_are_angles_of_their_position() -> None:
    cos, sin = rotary.cos_sin_table(ROPE, 128, 400)
    angle = np.float32(321) * rotary.inverse_frequencies(ROPE, 128).astype(np.float32)
    np.testing.assert_allclose(cos[321], np.cos(angle), atol=1e-6)
    np.testing.assert_allclose(sin[321], np.sin(angle), atol=1e-6)


def test_table_shape_and_dtype() -> None:
    for table in rotary.cos_sin_table(ROPE, 128, 10):
        assert (table.shape, table.dtype) == ((10, 64), np.float32)


@pytest.mark.parametrize(
    "change",
    [
        {"rope_theta": 1e9},
        {"factor": 8.0},
        {"original_max_position_embeddings": 8192},
        {"beta_fast": 16.0},
        {"llama_4_scaling_beta": 0.2},
    ],
)
def test_hash_tells_rotary_behaviours_apart(change: dict) -> None:
    assert rotary.table_hash(replace(ROPE, **change), 128) != rotary.table_hash(ROPE, 128)

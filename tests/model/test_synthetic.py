# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Random checkpoints: usable like a release, reproducible, distinct values."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nld_trt import names
from nld_trt.errors import InputError
from nld_trt.files import sha256_of
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.network import Network
from nld_trt.model.synthetic import PRESETS, Geometry, preset, release_config, write_synthetic

SMALL = Geometry(64, 96, 2, 1e6, num_attention_heads=4, num_key_value_heads=2, head_dim=32, vocab_size=256)


@pytest.fixture
def synthetic(tmp_path: Path) -> Path:
    write_synthetic(SMALL, tmp_path / "synthetic")
    return tmp_path / "synthetic"


def test_it_converts_like_a_release(synthetic: Path, tmp_path: Path) -> None:
    manifest = convert(synthetic, tmp_path / "converted")
    assert manifest["dtypes"] == {"BF16": 21}
    assert manifest["adapter"]["scale"] == 4.0


def test_adapter_has_the_released_rank(synthetic: Path) -> None:
    adapter = Checkpoint.open(synthetic).adapter
    assert adapter is not None
    assert (adapter.rank, adapter.alpha) == (128, 512.0)
    assert adapter.read(0)[0].shape == (128, 128)


def test_adapter_can_be_left_out(tmp_path: Path) -> None:
    write_synthetic(SMALL, tmp_path / "base", adapter=False)
    assert Checkpoint.open(tmp_path / "base").adapter is None


def test_same_seed_gives_the_same_bytes(synthetic: Path, tmp_path: Path) -> None:
    write_synthetic(SMALL, tmp_path / "again", seed=0)
    assert sha256_of(tmp_path / "again" / "model.safetensors") == sha256_of(synthetic / "model.safetensors")


def test_other_seed_gives_other_bytes(synthetic: Path, tmp_path: Path) -> None:
    write_synthetic(SMALL, tmp_path / "again", seed=1)
    assert sha256_of(tmp_path / "again" / "model.safetensors") != sha256_of(synthetic / "model.safetensors")


def test_layers_do_not_repeat_each_other(synthetic: Path) -> None:
    checkpoint = Checkpoint.open(synthetic)
    first, second = (checkpoint.read(f"encoder.layers.{i}.mlp.up_proj.weight") for i in range(2))
    assert not np.array_equal(first, second)


def test_matrices_have_the_released_initializer_range(synthetic: Path) -> None:
    tensor = Checkpoint.open(synthetic).read("encoder.embed_tokens.weight").astype(np.float32)
    assert tensor.std() == pytest.approx(0.02, rel=0.05)


def test_norm_weights_are_near_one(synthetic: Path) -> None:
    tensor = Checkpoint.open(synthetic).read("encoder.norm.weight").astype(np.float32)
    assert tensor.mean() == pytest.approx(1.0, abs=0.05)


@torch.no_grad()
def test_activations_stay_finite(synthetic: Path) -> None:
    checkpoint = Checkpoint.open(synthetic)
    network = Network(checkpoint.config)
    network.load_state_dict(
        {name: torch.from_numpy(checkpoint.read(name).astype(np.float32)) for name in checkpoint.names}
    )
    logits, _ = network.run(torch.arange(200)[None], causal=True)
    assert logits.isfinite().all()
    assert logits.std() > 0.01


@pytest.mark.parametrize("name", ["3b", "8b", "14B"])
def test_presets_are_found_in_any_case(name: str) -> None:
    assert preset(name) is PRESETS[name.lower()]


def test_unknown_preset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are 3b, 8b, 14b, qwen3-4b"):
        write_synthetic("70b", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_only_14b_has_the_large_theta() -> None:
    thetas = {name: release_config(PRESETS[name])["rope_parameters"]["rope_theta"] for name in names.NLD_SIZES}
    assert thetas == {"3b": 1e6, "8b": 1e6, "14b": 1e9}


def test_taken_output_folder_is_refused(synthetic: Path) -> None:
    with pytest.raises(InputError, match="--force"):
        write_synthetic(SMALL, synthetic)


def test_layers_are_shared_between_depths(synthetic: Path, tmp_path: Path) -> None:
    write_synthetic(replace(SMALL, num_hidden_layers=1), tmp_path / "shallow")
    name = "encoder.layers.0.mlp.up_proj.weight"
    shallow, deep = Checkpoint.open(tmp_path / "shallow"), Checkpoint.open(synthetic)
    assert shallow.read(name).tobytes() == deep.read(name).tobytes()

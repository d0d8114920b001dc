# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""SDAR's checkpoints: the tensors of Qwen3, with MASK and a block length that its releases need not state."""

from __future__ import annotations

import numpy as np
import pytest

from nld_trt.errors import InputError
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.config import ModelConfig
from nld_trt.model.convert import convert
from nld_trt.model.release_config import release_config
from nld_trt.model.releases import PRESETS
from nld_trt.model.synthetic import Geometry, write_synthetic
from nld_trt.quantization.calibration import BIDIRECTIONAL, DEFAULT_MIX, make_packs
from nld_trt.quantization.dataset import Document
from tests.block_causal import EOS, MASK, make_sdar
from tests.stock_models import edit_config, make_stock


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Checkpoint:
    return make_sdar(tmp_path_factory.mktemp("sdar"))[1]


def test_a_release_is_recognised_and_reads_as_itself(checkpoint) -> None:
    config = checkpoint.config
    assert (config.family_name, config.mask_id, config.block_size, config.eos_token_ids) == ("sdar", MASK, 4, EOS)
    assert any(name.endswith("self_attn.q_norm.weight") for name in checkpoint.names)


def test_a_release_need_not_state_its_mask_and_blocks() -> None:
    raw = release_config(PRESETS["sdar-8b"])
    config = ModelConfig.from_hf(
        {key: value for key, value in raw.items() if key not in ("mask_token_id", "block_size")}
    )
    assert config == ModelConfig.from_hf(raw)
    assert (config.mask_id, config.block_size, config.eos_token_ids) == (151669, 4, (151643, 151645))


def test_a_block_length_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="block_size is 0; it must be a positive whole number"):
        ModelConfig.from_hf(release_config(PRESETS["sdar-8b"]) | {"block_size": 0})


def test_tensors_of_another_family_are_named(tmp_path) -> None:
    make_stock("mistral", tmp_path / "release")
    edit_config(tmp_path / "release", model_type="sdar", mask_token_id=MASK, sliding_window=None)
    with pytest.raises(InputError, match=r"missing: encoder\.layers\.0\.self_attn\.q_norm\.weight"):
        convert(tmp_path / "release", tmp_path / "converted")
    assert not (tmp_path / "converted").exists()


def test_a_synthetic_release_converts(tmp_path) -> None:
    write_synthetic(Geometry(64, 96, 1, 1e6, 4, 2, 32, 256, family_name="sdar"), tmp_path / "release")
    manifest = convert(tmp_path / "release", tmp_path / "converted")
    assert manifest["family"] == "sdar"
    assert Checkpoint.open_converted(tmp_path / "converted").config.mask_id == 255


def test_calibration_shows_blocks_as_decoding_does(checkpoint) -> None:
    """Clean tokens see the rest of their block, masked blocks stand where decoding has them, and any slot is masked."""
    documents = [Document(tuple(range(8, 8 + length)), answer_start=5) for length in (31, 40)]
    packs = make_packs(
        documents, checkpoint.config, DEFAULT_MIX, block_length=4, adapter=False, pack_tokens=1000, seed=0
    )  # fmt: skip
    (pack,) = packs
    clean, blocks = pack.block < 0, pack.block >= 0
    assert (pack.limit[clean] == pack.positions[clean] // 4 * 4 + 4).all()
    assert (pack.limit[blocks] % 4 == 0).all()
    masked = (pack.tokens == MASK) & (pack.kind == BIDIRECTIONAL)
    assert set(np.unique(pack.positions[masked] % 4)) == {0, 1, 2, 3}
    seen = pack.mask()
    assert seen[0, 3]
    assert not seen[0, 4]

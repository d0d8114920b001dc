# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of other families: recognised, converted to our spelling, and refused where they are something else."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nld_trt import names
from nld_trt.errors import InputError
from nld_trt.model import rotary
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.config import ModelConfig
from nld_trt.model.convert import convert
from nld_trt.model.family import FAMILIES, Family
from nld_trt.model.ministral3 import export_ministral3
from nld_trt.model.names import Names
from nld_trt.model.network import Network
from nld_trt.model.release_config import release_config
from nld_trt.model.releases import PRESETS
from nld_trt.model.synthetic import Geometry, write_synthetic
from tests.stock_models import BIASED, STOCK, edit_config, edit_tensors, make_stock

Q_NORM = "model.layers.1.self_attn.q_norm.weight"


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """The folder and the model of transformers, by name."""
    made = {}

    def find(name: str) -> tuple[Path, torch.nn.Module]:
        if name not in made:
            folder = tmp_path_factory.mktemp("stock") / name
            made[name] = folder, make_stock(name, folder)
        return made[name]

    return find


@pytest.fixture
def qwen3(stock, tmp_path: Path) -> Path:
    """A writable Qwen3 release."""
    return Path(shutil.copytree(stock("qwen3")[0], tmp_path / "qwen3"))


@pytest.fixture(autouse=True)
def _biased(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, BIASED.name, BIASED)


def refusal(folder: Path, target: Path) -> str:
    with pytest.raises(InputError) as caught:
        convert(folder, target)
    assert not target.exists()
    return str(caught.value)


# Converted


@pytest.mark.parametrize("name", STOCK)
@torch.no_grad()
def test_the_network_is_that_of_transformers(stock, tmp_path: Path, name: str) -> None:
    folder, model = stock(name)
    convert(folder, tmp_path / "converted")
    checkpoint = Checkpoint.open_converted(tmp_path / "converted")
    network = Network(checkpoint.config)
    missing = network.load_state_dict(
        {each: torch.from_numpy(checkpoint.read(each)) for each in checkpoint.names}, strict=False
    ).missing_keys
    assert missing == (["diffusion_head.weight"] if checkpoint.has_tied_head else [])
    ids = torch.randint(3, 384, (2, 50))
    found, _ = network.run(ids, causal=True)
    torch.testing.assert_close(found, model(ids).logits, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("name", STOCK)
def test_a_converted_checkpoint_knows_its_family_and_converts_to_itself(stock, tmp_path: Path, name: str) -> None:
    manifest = convert(stock(name)[0], tmp_path / "once")
    again = convert(tmp_path / "once", tmp_path / "twice")
    first, second = (Checkpoint.open_converted(tmp_path / folder) for folder in ("once", "twice"))
    assert first.config == second.config
    assert first.config.family.model_types[0] == STOCK[name][0].lower() or name == "ministral"
    assert first.names == second.names
    assert all(each.startswith(("encoder.", "diffusion_head.")) for each in first.names)
    assert manifest["family"] == again["family"] == first.config.family_name
    assert manifest["model_sha256"] == again["model_sha256"]
    assert ModelConfig.from_dict(json.loads(json.dumps(first.config.to_dict()))) == first.config


def test_a_tied_head_is_stored_once(stock, tmp_path: Path) -> None:
    manifest = convert(stock("qwen3-tied")[0], tmp_path / "converted")
    checkpoint = Checkpoint.open_converted(tmp_path / "converted")
    assert checkpoint.has_tied_head
    assert "diffusion_head.weight" not in checkpoint.names
    assert manifest["parameters"] == sum(np.prod(checkpoint.shape_of(name)) for name in checkpoint.names)


def test_settings_of_earlier_versions_of_transformers_mean_the_same(qwen3: Path) -> None:
    now = Checkpoint.open(qwen3)
    raw = json.loads((qwen3 / "config.json").read_text(encoding="utf-8"))
    theta = raw.pop("rope_parameters")["rope_theta"]
    (qwen3 / "config.json").write_text(json.dumps({**raw, "rope_theta": theta, "rope_scaling": None}), encoding="utf-8")
    assert Checkpoint.open(qwen3).config == now.config


@pytest.mark.parametrize("name", ["qwen3", "mistral"])
@torch.no_grad()
def test_rotary_tables_are_those_of_transformers(stock, name: str) -> None:
    folder, model = stock(name)
    config = Checkpoint.open(folder).config
    positions = torch.arange(0, 32768, 997)
    theirs = model.model.rotary_emb(torch.zeros(1), positions[None])
    ours = rotary.cos_sin_table(config.rope, config.head_dim, 32768)
    for found, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(found[positions], expected[0, :, : config.head_dim // 2].numpy(), atol=1e-6)
    assert (rotary.query_scale(config.rope, positions.numpy() * 10) == 1).all()


@pytest.mark.parametrize("size", sorted({*PRESETS} - {*names.NLD_SIZES}))
def test_synthetic_releases_have_the_spelling_of_their_family(tmp_path: Path, size: str) -> None:
    reduced = replace(PRESETS[size], hidden_size=64, intermediate_size=96, num_hidden_layers=1, vocab_size=256)
    write_synthetic(reduced, tmp_path / "release")
    assert not (tmp_path / "release" / "linear_spec_lora").exists()
    checkpoint = Checkpoint.open(tmp_path / "release")
    assert checkpoint.config.family_name == reduced.family_name
    assert checkpoint.has_tied_head == reduced.tied
    first = {"llada": "model.transformer.wte"}.get(reduced.family_name, "model.embed_tokens")
    assert any(f"renamed, such as {first}.weight" in line for line in checkpoint.notes)


@pytest.mark.parametrize(
    ("size", "parameters"),
    [
        ("qwen3-4b", 4_022_468_096),
        ("qwen3-8b", 8_190_735_360),
        ("ministral-8b", 8_019_808_256),
        ("llada-8b", 8_015_581_184),
        ("dream-7b", 7_615_616_512),
    ],
)
def test_releases_have_their_published_number_of_parameters(size: str, parameters: int) -> None:
    from nld_trt.model.inventory import parameter_count

    assert parameter_count(ModelConfig.from_hf(release_config(PRESETS[size]))) == parameters


# The VLM's text model


def test_the_text_of_a_model_that_reads_images_converts(release, tmp_path: Path) -> None:
    plain = convert(release.folder, tmp_path / "plain")
    release.edit_config(model_type="nemotron_labs_diffusion_vlm")
    vision = {
        "encoder.vision_tower.patch_conv.weight": np.zeros((4, 3, 2, 2), np.float32),
        "encoder.vision_tower.ln_pre.weight": np.zeros(4, np.float32),
        "encoder.multi_modal_projector.linear_1.weight": np.zeros((4, 4), np.float32),
    }
    release.edit_tensors(lambda tensors: tensors.update(vision))
    manifest = convert(release.folder, tmp_path / "converted")
    checkpoint = Checkpoint.open_converted(tmp_path / "converted")
    assert checkpoint.config.family_name == "nld-vlm"
    assert checkpoint.config.family.modes == FAMILIES["nld"].modes
    assert manifest["files"]["model.safetensors"]["sha256"] == plain["files"]["model.safetensors"]["sha256"]
    notes = "\n".join(manifest["notes"])
    assert "2 tensors left out, such as encoder.vision_tower.ln_pre.weight: the vision tower" in notes
    assert "1 tensor left out, such as encoder.multi_modal_projector.linear_1.weight: the projector" in notes


# Refused


@pytest.mark.parametrize("kind", ["llama", "qwen3_vl", None])
def test_an_unknown_model_type_is_refused_with_those_that_exist(qwen3: Path, tmp_path: Path, kind: object) -> None:
    edit_config(qwen3, model_type=kind)
    text = refusal(qwen3, tmp_path / "x")
    assert f"model_type is {kind!r}" in text
    assert "qwen3 (Qwen3), mistral (Mistral)" in text


@pytest.mark.parametrize("kind", ["qwen3_5", "qwen3_next"])
def test_recurrent_layers_are_refused_with_the_reason(qwen3: Path, tmp_path: Path, kind: str) -> None:
    edit_config(qwen3, model_type=kind)
    assert "gated delta-nets" in refusal(qwen3, tmp_path / "x")


@pytest.mark.parametrize("changes", [{"model_type": "qwen3_moe"}, {"model_type": "mixtral"}, {"num_experts": 128}])
def test_experts_are_refused(qwen3: Path, tmp_path: Path, changes: dict) -> None:
    edit_config(qwen3, **changes)
    assert "a mixture of experts" in refusal(qwen3, tmp_path / "x")


def test_tensors_of_another_family_are_named(qwen3: Path, tmp_path: Path) -> None:
    edit_config(qwen3, model_type="mistral", sliding_window=None)
    text = refusal(qwen3, tmp_path / "x")
    assert "unexpected: model.layers.0.self_attn.k_norm.weight" in text
    assert "These are the tensors of Qwen3 or SDAR, and config.json says Mistral" in text


def test_a_network_without_norms_of_heads_is_no_qwen3(stock, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(stock("mistral")[0], tmp_path / "mistral"))
    edit_config(folder, model_type="qwen3")
    text = refusal(folder, tmp_path / "x")
    assert "missing: encoder.layers.0.self_attn.q_norm.weight [32]" in text
    assert "These are the tensors of" in text


@pytest.mark.parametrize(
    ("stated", "stored", "text"),
    [
        ("llada", "dream", "These are the tensors of Dream or"),
        ("dream", "llada", "These are the tensors of LLaDA, and config.json says Dream"),
        ("mistral", "llada", "These are the tensors of LLaDA, and config.json says Mistral"),
        ("qwen3", "dream", "unexpected: model.layers.0.self_attn.q_proj.bias"),
    ],
)
def test_a_configuration_and_tensors_of_two_families_are_told_apart(
    tmp_path: Path, stated: str, stored: str, text: str
) -> None:
    for name in (stated, stored):
        write_synthetic(Geometry(64, 96, 1, 5e5, 4, 4, 16, 256, name), tmp_path / name)
    shutil.copy(tmp_path / stored / "model.safetensors", tmp_path / stated / "model.safetensors")
    assert text in refusal(tmp_path / stated, tmp_path / "x")


def test_a_missing_norm_is_a_missing_tensor(qwen3: Path, tmp_path: Path) -> None:
    edit_tensors(qwen3, lambda tensors: tensors.pop(Q_NORM))
    assert "missing: encoder.layers.1.self_attn.q_norm.weight [32]" in refusal(qwen3, tmp_path / "x")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"attention_bias": True}, "attention_bias is True; supported: False"),
        ({"use_sliding_window": True}, "use_sliding_window is True; supported: False"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}}, "supported: default"),
        ({"rope_parameters": {"rope_type": "default"}}, "rope_parameters.rope_theta is None"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
    ],
)
def test_settings_that_would_change_the_network_are_refused(
    qwen3: Path, tmp_path: Path, changes: dict, text: str
) -> None:
    edit_config(qwen3, **changes)
    found = refusal(qwen3, tmp_path / "x")
    assert "config.json does not describe a Qwen3 text model" in found
    assert text in found


def test_the_export_of_another_family_is_refused(qwen3: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Qwen3 checkpoint, which is no Ministral 3"):
        export_ministral3(Checkpoint.open(qwen3), tmp_path / "x")


# Families


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_family_is_consistent(family: Family) -> None:
    assert family.modes
    assert set(family.modes) <= {*names.SERVED_MODES}
    assert family.has_mask == (family.sees != "causal")
    assert family.default_mode in family.modes
    assert len(set(family.model_types)) == len(family.model_types)


def test_every_model_type_is_of_one_family() -> None:
    kinds = [kind for family in FAMILIES.values() for kind in family.model_types]
    assert len(set(kinds)) == len(kinds)


def test_a_family_may_spell_settings_and_tensors_in_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Family(
        "own", "Own", (), "", ("own",), ("ar",),
        keys={"d_model": "hidden_size", "n_layers": "num_hidden_layers"},
        tensors={
            "transformer.wte": "encoder.embed_tokens",
            "transformer.blocks.{layer}.attn_out": "encoder.layers.{layer}.self_attn.o_proj",
            "transformer.ff_out": "diffusion_head",
        },
        defaults={"block_size": 1, "mask_token_id": 5}, may_lack=("head_dim", "num_key_value_heads"), has_mask=True,
    )  # fmt: skip
    monkeypatch.setitem(FAMILIES, "own", own)
    raw = {key: value for key, value in release_config(PRESETS["qwen3-8b"]).items() if "hidden" not in key}
    raw |= {"model_type": "own", "d_model": 4096, "n_layers": 3, "hidden_act": "silu", "head_dim": None}
    config = ModelConfig.from_hf(raw)
    assert (config.hidden_size, config.num_hidden_layers, config.head_dim, config.mask_id) == (4096, 3, 128, 5)
    stored = [
        "model.transformer.wte.weight",
        "model.transformer.blocks.11.attn_out.weight",
        "transformer.ff_out.weight",
    ]
    assert list(Names.of(stored, layers=12, family=own).stored) == [
        "encoder.embed_tokens.weight", "encoder.layers.11.self_attn.o_proj.weight", "diffusion_head.weight",
    ]  # fmt: skip


def test_geometries_of_other_families_convert(tmp_path: Path) -> None:
    geometry = Geometry(64, 96, 1, 1e8, 4, 2, 32, 256, family_name="mistral")
    write_synthetic(geometry, tmp_path / "release")
    assert convert(tmp_path / "release", tmp_path / "converted")["family"] == "mistral"
    assert Checkpoint.open_converted(tmp_path / "converted").config.attention_window == 32768

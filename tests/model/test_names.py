# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Names as training tools spell them: what stands for what, and checkpoints that are full of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from nld_trt.errors import InputError
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.config import ModelConfig
from nld_trt.model.convert import convert
from nld_trt.model.inventory import expected_tensors
from nld_trt.model.ministral3 import export_ministral3
from nld_trt.model.names import WRAPPERS, Names, canonical, is_cache_scale
from nld_trt.model.synthetic import PRESETS, release_config

EMBEDDING, NORM, HEAD = "encoder.embed_tokens.weight", "encoder.norm.weight", "diffusion_head.weight"
UP_PROJ = "encoder.layers.0.mlp.up_proj.weight"
RELEASED = list(expected_tensors(ModelConfig.from_hf(release_config(PRESETS["3b"]))))

# What stands before a released name, and what stands for its first part.
PREFIXES = ["_orig_mod.", "module.", "model.", "base_model.model.", "module._orig_mod.", "base_model.model.model."]
RESPELLED = {
    "encoder twice": lambda name: f"encoder.{name}" if name.startswith("encoder.") else name,
    "all in an encoder": lambda name: f"encoder.{name}",
    "model for encoder": lambda name: name.replace("encoder.", "model."),
    "no encoder": lambda name: name.removeprefix("encoder."),
    "lm_head": lambda name: name.replace("diffusion_head", "lm_head"),
    "model and lm_head": lambda name: name.replace("encoder.", "model.").replace("diffusion_head", "lm_head"),
    "compiled layers": lambda name: name.replace("layers.0.", "layers.0._orig_mod."),
    "FSDP and checkpointing": lambda name: (
        "_fsdp_wrapped_module." + name.replace("layers.1.", "layers.1._fsdp_wrapped_module._checkpoint_wrapped_module.")
    ),
    **{prefix: lambda name, prefix=prefix: prefix + name for prefix in PREFIXES},
}


def rename(release, respell) -> dict[str, np.ndarray]:
    """Store every tensor under another name; returns the tensors by their released names."""
    before = load_file(release.weights)

    def edit(tensors: dict) -> None:
        for name in list(tensors):
            tensors[respell(name)] = tensors.pop(name)

    release.edit_tensors(edit)
    return before


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        Checkpoint.open(folder)
    return str(caught.value)


@given(name=st.sampled_from(RELEASED), data=st.data())
def test_wrappers_anywhere_in_a_name_change_nothing(name: str, data: st.DataObject) -> None:
    parts = name.split(".")
    for wrapper in data.draw(st.lists(st.sampled_from(WRAPPERS), max_size=4)):
        parts.insert(data.draw(st.integers(0, len(parts) - 1)), wrapper)
    assert canonical(".".join(parts)) == name


@given(name=st.sampled_from(RELEASED))
def test_released_names_are_their_own_and_no_two_become_one(name: str) -> None:
    assert canonical(name) == name
    assert Names.of(RELEASED, layers=26).stored == {name: name for name in RELEASED}


@pytest.mark.parametrize("respell", RESPELLED.values(), ids=RESPELLED)
def test_tensors_are_found_under_other_names(release, respell) -> None:
    before = rename(release, respell)
    checkpoint = Checkpoint.open(release.folder)
    assert set(checkpoint.names) == set(before)
    for name in checkpoint.names:
        np.testing.assert_array_equal(checkpoint.read(name), before[name])


@pytest.mark.parametrize("respell", RESPELLED.values(), ids=RESPELLED)
def test_convert_writes_the_bytes_of_the_release(release, tmp_path: Path, respell) -> None:
    convert(release.folder, tmp_path / "released")
    rename(release, respell)
    manifest = convert(release.folder, tmp_path / "respelled")
    before, after = (tmp_path / name / "model.safetensors" for name in ("released", "respelled"))
    assert after.read_bytes() == before.read_bytes()
    assert Checkpoint.open_converted(tmp_path / "respelled", verify=True).notes == ()
    assert any(" renamed, such as " in line for line in manifest["notes"])


def test_note_counts_and_shows_what_was_renamed(release) -> None:
    rename(release, lambda name: f"_orig_mod.{name}")
    (line,) = Checkpoint.open(release.folder).notes
    assert line.startswith("21 tensors renamed, such as _orig_mod.")
    assert line.endswith(line.split("_orig_mod.")[1].split(" to ")[0])


def test_release_has_no_notes(release) -> None:
    assert Checkpoint.open(release.folder).notes == ()


def test_shards_are_found_under_other_names(release) -> None:
    before = rename(release, lambda name: f"module.{name}")
    release.shard()
    assert set(Checkpoint.open(release.folder).names) == set(before)


def test_ministral3_export_of_other_names_is_that_of_the_release(release, tmp_path: Path) -> None:
    export_ministral3(Checkpoint.open(release.folder), tmp_path / "released")
    rename(release, RESPELLED["model and lm_head"])
    export_ministral3(Checkpoint.open(release.folder), tmp_path / "respelled")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "respelled" / name).read_bytes() == (tmp_path / "released" / name).read_bytes()


@pytest.mark.parametrize(("other", "name"), [("lm_head.weight", HEAD), ("_orig_mod.encoder.norm.weight", NORM)])
def test_two_names_for_one_tensor_are_refused_by_name(release, other: str, name: str) -> None:
    release.edit_tensors(lambda tensors: tensors.update({other: tensors[name]}))
    text = refusal(release.folder)
    assert f"are both {name}" in text
    assert other in text


@pytest.mark.parametrize(
    "name", ["ema.encoder.norm.weight", "encoder.layers.x.mlp.up_proj.weight", "encoder.norm.module", "heads.weight"]
)
def test_other_names_are_unexpected_as_they_are_stored(release, name: str) -> None:
    release.edit_tensors(lambda tensors: tensors.update({name: np.zeros(1, np.float32)}))
    assert f"unexpected: {name}" in refusal(release.folder)


# Rotary buffers


@pytest.mark.parametrize(
    "name",
    [
        "encoder.rotary_emb.inv_freq",
        "encoder.layers.0.self_attn.rotary_emb.inv_freq",
        "_orig_mod.encoder.rotary_emb.original_inv_freq",
        "model.rotary_emb.cos_cached",
        "rotary_emb.inv_freq",
    ],
)
def test_rotary_buffers_are_left_out_with_a_note(release, tmp_path: Path, name: str) -> None:
    before = load_file(release.weights)
    release.edit_tensors(lambda tensors: tensors.update({name: np.zeros(8, np.float32)}))
    manifest = convert(release.folder, tmp_path / "out")
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == before.keys()
    (line,) = manifest["notes"]
    assert line.startswith(f"1 tensor left out, such as {name}: ")


def test_rotary_buffer_that_an_index_leaves_out_is_no_fault(release) -> None:
    buffer = "encoder.rotary_emb.inv_freq"
    release.edit_tensors(lambda tensors: tensors.update({buffer: np.zeros(8, np.float32)}))
    index = release.shard()
    content = json.loads(index.read_text(encoding="utf-8"))
    del content["weight_map"][buffer]
    index.write_text(json.dumps(content), encoding="utf-8")
    Checkpoint.open(release.folder)


# Scales of quantized caches

SCALES = [
    "encoder.layers.0.self_attn.k_proj.k_scale",
    "encoder.layers.1.self_attn.v_proj.v_scale",
    "encoder.layers.0.self_attn.k_scale",
    "encoder.layers.0.self_attn.attn.v_scale",
    "encoder.layers.0.attn.kv_scale",
    "encoder.layers.0.self_attn.kv_cache_scaling_factor",
    "encoder.layers.0.self_attn.k_proj.output_scale",
    "model.layers.0.self_attn.k_proj.k_scale",
]


@pytest.mark.parametrize("name", SCALES)
def test_scales_of_caches_are_left_out_with_a_note(release, name: str) -> None:
    release.edit_tensors(lambda tensors: tensors.update({name: np.ones((), np.float32)}))
    (line,) = Checkpoint.open(release.folder).notes
    assert line.startswith(f"1 tensor left out, such as {name}: scales for quantized key/value caches")
    assert "--kv-cache" in line


@pytest.mark.parametrize(
    "name",
    [
        "encoder.layers.2.self_attn.k_proj.k_scale",
        "encoder.layers.0.mlp.k_scale",
        "encoder.layers.0.self_attn.q_proj.output_scale",
        "encoder.layers.0.self_attn.k_proj.weight_scale",
        "encoder.layers.0.self_attn.k_proj.input_scale",
    ],
)
def test_other_scales_are_none_of_a_cache(name: str) -> None:
    assert not is_cache_scale(name, layers=2)

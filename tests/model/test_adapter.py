# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The draft adapter: what is read, and what is refused."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from nld_trt.errors import InputError
from nld_trt.model.adapter import Adapter, tensor_names
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert


def opened(release) -> Adapter:
    adapter = Checkpoint.open(release.folder).adapter
    assert adapter is not None
    return adapter


def refusal(release) -> str:
    with pytest.raises(InputError) as caught:
        Checkpoint.open(release.folder)
    return str(caught.value)


def test_rank_alpha_and_scale_come_from_the_file(release) -> None:
    adapter = opened(release)
    assert (adapter.rank, adapter.alpha, adapter.scale) == (4, 16.0, 4.0)


def test_tensors_are_read_per_layer(release) -> None:
    stored = load_file(release.adapter / "adapter_model.safetensors")
    for layer in range(2):
        for name, tensor in zip(tensor_names(layer), opened(release).read(layer), strict=True):
            np.testing.assert_array_equal(tensor, stored[name])


def test_half_precision_is_read_as_float32(release) -> None:
    release.edit_adapter(lambda tensors: tensors.update({k: v.astype(np.float16) for k, v in tensors.items()}))
    assert {tensor.dtype for tensor in opened(release).read(0)} == {np.dtype(np.float32)}


def test_parameters_counts_both_factors(release) -> None:
    assert opened(release).parameters == 2 * (4 * 64 + 64 * 4)


def test_no_folder_means_no_adapter(release) -> None:
    shutil.rmtree(release.adapter)
    assert Checkpoint.open(release.folder).adapter is None


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_missing_file_is_refused(release, name: str) -> None:
    (release.adapter / name).unlink()
    assert f"{name} missing" in refusal(release)


def test_pickled_tensors_are_refused_with_the_way_out(release) -> None:
    (release.adapter / "adapter_model.safetensors").rename(release.adapter / "adapter_model.bin")
    text = refusal(release)
    assert "adapter_model.bin is a pickle" in text
    assert "weights_only=True" in text


@pytest.mark.parametrize("modules", [["q_proj"], ["o_proj", "q_proj"], "o_proj", [], None])
def test_other_target_modules_are_refused(release, modules: object) -> None:
    release.edit_adapter_config(target_modules=modules)
    assert f"target_modules is {modules!r}; supported: ['o_proj']" in refusal(release)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("peft_type", "LOHA"),
        ("bias", "all"),
        ("use_dora", True),
        ("use_rslora", True),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "pissa_niter_16"),
        ("init_lora_weights", "olora"),
        ("init_lora_weights", "corda"),
        ("init_lora_weights", "loftq"),
        ("alora_invocation_tokens", [5, 6]),
        ("trainable_token_indices", [7]),
        ("fan_in_fan_out", True),
        ("modules_to_save", ["lm_head"]),
        ("rank_pattern", {"o_proj": 8}),
        ("r", 0),
        ("r", True),
        ("r", "4"),
        ("lora_alpha", 0),
        ("lora_alpha", None),
    ],
)
def test_settings_that_change_the_meaning_are_refused(release, name: str, value: object) -> None:
    release.edit_adapter_config(**{name: value})
    assert f"{name} is {value!r}" in refusal(release)


def test_alpha_beyond_every_float_is_refused(release) -> None:
    release.edit_adapter_config(lora_alpha=10**400)
    assert "lora_alpha is 1000" in refusal(release)


def test_rank_that_does_not_match_the_tensors_is_refused(release) -> None:
    release.edit_adapter_config(r=8)
    text = refusal(release)
    for layer in range(2):
        assert f"{tensor_names(layer)[0]} is [4, 64]; [8, 64] was expected" in text
        assert f"{tensor_names(layer)[1]} is [64, 4]; [64, 8] was expected" in text


def test_missing_and_extra_tensors_are_all_listed(release) -> None:
    def edit(tensors: dict) -> None:
        del tensors[tensor_names(0)[1]]
        tensors["base_model.model.encoder.layers.9.self_attn.o_proj.lora_A.weight"] = np.zeros((4, 64), np.float32)

    release.edit_adapter(edit)
    text = refusal(release)
    assert f"missing: {tensor_names(0)[1]} [64, 4]" in text
    assert "unexpected: base_model.model.encoder.layers.9" in text


def test_integer_tensors_are_refused(release) -> None:
    release.edit_adapter(lambda tensors: tensors.update({k: v.astype(np.int32) for k, v in tensors.items()}))
    assert "is I32; supported: F32, BF16, F16" in refusal(release)


def test_names_of_other_peft_versions_are_understood(release) -> None:
    before = opened(release).read(1)

    def edit(tensors: dict) -> None:
        for name in list(tensors):
            other = name.removeprefix("base_model.model.").replace(".weight", ".default.weight")
            tensors[other] = tensors.pop(name)

    release.edit_adapter(edit)
    for old, new in zip(before, opened(release).read(1), strict=True):
        np.testing.assert_array_equal(old, new)


def test_one_tensor_under_two_names_is_refused(release) -> None:
    name = tensor_names(0)[0]
    release.edit_adapter(lambda tensors: tensors.update({name.removeprefix("base_model.model."): tensors[name]}))
    assert "are the same tensor" in refusal(release)


# Settings in other spellings

O_PROJ = [f"encoder.layers.{layer}.self_attn.o_proj" for layer in range(2)]
EQUAL = {
    "part of the name": {"target_modules": ["self_attn.o_proj"]},
    "full names": {"target_modules": O_PROJ},
    "full names of a wrapper": {"target_modules": [f"model.{name}" for name in reversed(O_PROJ)]},
    "names without the encoder": {"target_modules": [name.removeprefix("encoder.") for name in O_PROJ]},
    "names of a compiled module": {"target_modules": [f"_orig_mod.{name}" for name in O_PROJ]},
    "a name that nothing has": {"target_modules": ["o_proj", "out_proj"]},
    "expression": {"target_modules": r".*\.o_proj"},
    "expression of full names": {"target_modules": r"encoder\.layers\.\d+\.self_attn\.o_proj"},
    "expression of a wrapper": {"target_modules": r"^model\.encoder\.layers\.(0|1)\.self_attn\.(o_proj)$"},
    "all ranks the same": {"rank_pattern": {"o_proj": 4}},
    "a rank for each": {"r": 8, "rank_pattern": dict.fromkeys(O_PROJ, 4)},
    "ranks by expression": {"r": 8, "rank_pattern": {r"layers\.\d+\.self_attn\.o_proj": 4}},
    "rank of another module": {"rank_pattern": {"q_proj": 8}},
    "an alpha for each": {"lora_alpha": 3, "alpha_pattern": dict.fromkeys(O_PROJ, 16)},
    "all layers": {"layers_to_transform": [1, 0], "layers_pattern": "layers"},
    "exclusion of others": {"exclude_modules": ["diffusion_head", "q_proj"]},
    "exclusion by expression": {"exclude_modules": r".*\.lm_head"},
    "another first value": {"init_lora_weights": "gaussian"},
    "the usual first value": {"init_lora_weights": True},
    "a rank with a point": {"r": 4.0},
    "an alpha with a point": {"lora_alpha": 16.0},
    "nothing chosen": {"layers_to_transform": None, "layers_pattern": [], "exclude_modules": [], "alpha_pattern": None},
}


@pytest.mark.parametrize("settings", EQUAL.values(), ids=EQUAL)
def test_settings_that_mean_the_same_are_accepted(release, settings: dict) -> None:
    before = opened(release)
    release.edit_adapter_config(**settings)
    after = opened(release)
    assert (after.rank, after.alpha, after.scale) == (before.rank, before.alpha, before.scale)


@pytest.mark.parametrize("settings", EQUAL.values(), ids=EQUAL)
def test_convert_writes_the_plain_settings(release, tmp_path, settings: dict) -> None:
    release.edit_adapter_config(**settings)
    manifest = convert(release.folder, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "linear_spec_lora" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (written["r"], written["lora_alpha"], written["target_modules"]) == (4, 16, ["o_proj"])
    assert type(written["r"]) is int
    assert not any(written.get(name) for name in ("rank_pattern", "alpha_pattern", "layers_to_transform"))
    again = Checkpoint.open_converted(tmp_path / "out")
    assert again.notes == ()
    assert manifest["adapter"] == {"rank": 4, "alpha": 16.0, "scale": 4.0, "parameters": 1024}


def test_note_names_the_settings(release) -> None:
    release.edit_adapter_config(target_modules=r".*\.o_proj", r=8, rank_pattern={"o_proj": 4})
    assert opened(release).notes == (
        "the adapter's target_modules, rank_pattern, r: read as LoRA of rank 4 on every o_proj",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("target_modules", O_PROJ[:1]),
        ("target_modules", r".*layers\.0\..*o_proj"),
        ("target_modules", r".*_proj"),
        ("target_modules", "("),
        ("target_modules", "all-linear"),
        ("target_modules", ["o_proj", 3]),
        ("target_modules", ["o_proj", "diffusion_head"]),
        ("target_modules", {"o_proj": True}),
        ("rank_pattern", {O_PROJ[0]: 8}),
        ("rank_pattern", {"o_proj": "4"}),
        ("rank_pattern", {"(": 4}),
        ("rank_pattern", ["o_proj"]),
        ("alpha_pattern", {O_PROJ[1]: 1}),
        ("alpha_pattern", {"o_proj": -1}),
        ("layers_to_transform", [0]),
        ("layers_to_transform", 0),
        ("layers_to_transform", "01"),
        ("layers_to_transform", [False, True]),
        ("exclude_modules", ["o_proj"]),
        ("exclude_modules", r".*layers\.1\..*"),
        ("r", 4.5),
        ("lora_alpha", float("inf")),
        ("use_rslora", True),
        ("use_dora", True),
        ("lora_bias", True),
        ("bias", "lora_only"),
    ],
)
def test_settings_that_mean_something_else_are_refused_by_name(release, name: str, value: object) -> None:
    release.edit_adapter_config(**{name: value})
    assert f"{name} is {value!r}" in refusal(release)


def test_layers_of_another_list_are_refused(release) -> None:
    release.edit_adapter_config(layers_to_transform=[0, 1], layers_pattern="blocks")
    assert "layers_pattern is 'blocks'" in refusal(release)


# Tensors under other names

RESPELLED = {
    "compiled": lambda name: name.replace("base_model.model.", "base_model.model._orig_mod."),
    "a wrapper": lambda name: name.replace("base_model.model.", "base_model.model.model."),
    "distributed": lambda name: f"module.{name}",
    "without the encoder": lambda name: name.replace("encoder.", ""),
    "the encoder twice": lambda name: name.replace("encoder.", "encoder.encoder."),
    "adapter's default name": lambda name: name.replace(".weight", ".default.weight"),
    "adapter's own name": lambda name: name.replace(".weight", ".draft.weight"),
}


@pytest.mark.parametrize("respell", RESPELLED.values(), ids=RESPELLED)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_tensors_are_found_under_other_names(release, respell, dtype: type) -> None:
    def edit(tensors: dict) -> None:
        for name in list(tensors):
            tensors[respell(name)] = tensors.pop(name).astype(dtype)

    before = [opened(release).read(layer) for layer in range(2)]
    release.edit_adapter(edit)
    after = opened(release)
    assert any(" tensors of the adapter renamed" in line for line in after.notes)
    for layer in range(2):
        for old, new in zip(before[layer], after.read(layer), strict=True):
            np.testing.assert_array_equal(old.astype(dtype), new.astype(dtype))


def test_two_adapters_in_one_file_are_refused(release) -> None:
    name = tensor_names(0)[0]
    other = name.replace(".weight", ".other.weight")
    release.edit_adapter(lambda tensors: tensors.update({other: tensors[name]}))
    assert "are the same tensor" in refusal(release)


def test_long_lists_of_faults_are_cut(release) -> None:
    extra = {f"base_model.model.encoder.layers.{layer}.mlp.lora_A.weight": np.zeros(1) for layer in range(40)}
    release.edit_adapter(lambda tensors: tensors.update(extra))
    text = refusal(release)
    assert len(text.splitlines()) <= 20
    assert "more such lines" in text

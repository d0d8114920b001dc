# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The draft adapter: what is read, and what is refused."""

import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from nld_trt.errors import InputError
from nld_trt.model.adapter import Adapter, tensor_names
from nld_trt.model.checkpoint import Checkpoint


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

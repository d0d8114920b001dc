# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Reading config.json: released values are taken over, everything else is refused by name."""

import json
from pathlib import Path

import pytest

from nld_trt.errors import InputError
from nld_trt.model.config import ModelConfig


@pytest.fixture
def raw(tiny_a: Path) -> dict:
    return json.loads((tiny_a / "config.json").read_text(encoding="utf-8"))


def problems(raw: dict) -> str:
    with pytest.raises(InputError) as caught:
        ModelConfig.from_hf(raw)
    return str(caught.value)


def test_values_come_from_the_file(golden_folder: Path) -> None:
    raw = json.loads((golden_folder / "config.json").read_text(encoding="utf-8"))
    config = ModelConfig.from_hf(raw)
    for name in ("hidden_size", "num_hidden_layers", "eos_token_id", "mask_token_id", "block_size"):
        assert getattr(config, name) == raw[name]
    assert config.rope.rope_theta == raw["rope_parameters"]["rope_theta"]


def test_query_size_need_not_be_the_hidden_size(tiny_b: Path) -> None:
    config = ModelConfig.from_hf(json.loads((tiny_b / "config.json").read_text(encoding="utf-8")))
    assert (config.query_size, config.key_value_size, config.hidden_size) == (128, 64, 64)


def test_kv_elements_count_keys_and_values_of_all_layers(raw: dict) -> None:
    assert ModelConfig.from_hf(raw).kv_elements_per_token == 2 * 2 * 16 * 2


def test_dict_round_trip_is_lossless(raw: dict) -> None:
    config = ModelConfig.from_hf(raw)
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("mask", [-1, 256, None, True, "100"])
def test_mask_id_outside_the_vocabulary_is_refused(raw: dict, mask: object) -> None:
    assert "mask_token_id" in problems({**raw, "mask_token_id": mask})


def test_missing_mask_id_is_refused_instead_of_defaulted(raw: dict) -> None:
    del raw["mask_token_id"]
    assert "mask_token_id is missing" in problems(raw)


def test_mask_equal_to_eos_is_refused(raw: dict) -> None:
    assert "both 11" in problems({**raw, "mask_token_id": 11})


@pytest.mark.parametrize("rope_type", ["linear", "default", None])
def test_unknown_rope_type_is_refused(raw: dict, rope_type: object) -> None:
    raw["rope_parameters"]["rope_type"] = rope_type
    assert f"rope_type is {rope_type!r}; supported: yarn" in problems(raw)


@pytest.mark.parametrize("change", [{"mscale_all_dim": 0.0}, {"mscale": 0.5}, {"attention_factor": 1.2772589}])
def test_rotary_magnitude_other_than_one_is_refused(raw: dict, change: dict) -> None:
    raw["rope_parameters"].update(change)
    assert "magnitude other than 1" in problems(raw)


@pytest.mark.parametrize("name", ["rope_theta", "factor", "original_max_position_embeddings", "llama_4_scaling_beta"])
def test_missing_rope_value_is_refused(raw: dict, name: str) -> None:
    del raw["rope_parameters"][name]
    assert f"rope_parameters.{name}" in problems(raw)


def test_missing_rope_block_is_refused(raw: dict) -> None:
    del raw["rope_parameters"]
    assert "rope_parameters is missing" in problems(raw)


@pytest.mark.parametrize(
    ("name", "value"),
    [("model_type", "ministral3"), ("attention_bias", True), ("sliding_window", 4096), ("hidden_act", "gelu")],
)
def test_settings_of_another_network_are_refused(raw: dict, name: str, value: object) -> None:
    assert f"{name} is {value!r}" in problems({**raw, name: value})


def test_all_problems_are_listed_at_once(raw: dict) -> None:
    text = problems({**raw, "mask_token_id": -1, "hidden_size": 0, "mlp_bias": True, "rms_norm_eps": -1})
    for name in ("mask_token_id", "hidden_size", "mlp_bias", "rms_norm_eps"):
        assert name in text


def test_heads_that_cannot_be_grouped_are_refused(raw: dict) -> None:
    assert "not a multiple" in problems({**raw, "num_key_value_heads": 3})


@pytest.mark.parametrize("name", ["rms_norm_eps", "rope_theta", "beta_fast", "factor", "llama_4_scaling_beta"])
def test_number_beyond_every_float_is_refused_by_name(raw: dict, name: str) -> None:
    rope = raw["rope_parameters"]
    changed = {**raw, name: 10**400} if name in raw else {**raw, "rope_parameters": {**rope, name: 10**400}}
    assert f"{name} is 1000" in problems(changed)

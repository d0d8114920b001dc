# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a recipe does to a network, settled from the network's skeleton."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nld_trt.errors import InputError
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.config import ModelConfig
from nld_trt.model.inventory import linear_modules
from nld_trt.model.synthetic import PRESETS, release_config
from nld_trt.quantization.plan import HEAD_MODULE, make_plan
from nld_trt.quantization.recipe import Recipe, shipped_names

OFF = {"quantizer_name": "*", "enable": False}
INT4 = {"num_bits": 4, "block_sizes": {-1: 128, "type": "static"}}
KEPT = ({"quantizer_name": "*embed_tokens*", "enable": False}, {"quantizer_name": "*diffusion_head*", "enable": False})


def recipe(*entries: dict, method: str = "max") -> Recipe:
    return Recipe("mine", "", (OFF, *entries), {"method": method})


def refusal(config: ModelConfig, *entries: dict, head: bool = False) -> str:
    with pytest.raises(InputError) as caught:
        make_plan(recipe(*entries), config, head=head)
    return "\n".join((str(caught.value), *caught.value.details))


@pytest.fixture(scope="module")
def config(converted) -> ModelConfig:
    """nld-tiny's: six layers, and all sizes multiples of 128."""
    return Checkpoint.open_converted(converted("nld-tiny")).config


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_recipe_quantizes_the_layers_and_not_the_head(config, name: str) -> None:
    formats = make_plan(Recipe.shipped(name), config, head=False).formats
    assert formats.keys() == linear_modules(config).keys() - {HEAD_MODULE}


@pytest.mark.parametrize("name", shipped_names())
def test_head_is_quantized_like_the_layers_on_request(config, name: str) -> None:
    formats = make_plan(Recipe.shipped(name), config, head=True).formats
    assert formats[HEAD_MODULE] == formats["encoder.layers.0.mlp.gate_proj"]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", shipped_names())
def test_releases_need_no_other_group_size(preset: str, name: str) -> None:
    config = ModelConfig.from_hf(release_config(PRESETS[preset]))
    assert not make_plan(Recipe.shipped(name), config, head=False).regrouped


@pytest.mark.parametrize(("size", "group"), [(640, 128), (192, 64), (96, 32)])
def test_smaller_groups_are_taken_where_a_dimension_needs_them(config, size: int, group: int) -> None:
    changed = replace(config, intermediate_size=size)
    plan = make_plan(Recipe.shipped("int4_rtn"), changed, head=False)
    assert plan.formats["encoder.layers.0.mlp.down_proj"].group_size == group
    assert plan.formats["encoder.layers.0.mlp.gate_proj"].group_size == 128


def test_block_that_divides_nothing_is_refused_by_layer(config) -> None:
    with pytest.raises(InputError, match="does not divide") as caught:
        make_plan(Recipe.shipped("int4_rtn"), replace(config, intermediate_size=200), head=False)
    assert "encoder.layers.5.mlp.down_proj has 200 input features, which blocks of 128" in caught.value.details[-1]


@pytest.mark.parametrize("pattern", ["*lm_head*weight_quantizer", "*[kv]_bmm_quantizer", "model.layers.*"])
def test_entry_that_matches_no_quantizer_is_refused(config, pattern: str) -> None:
    assert f"no quantizer matches '{pattern}'" in refusal(config, {"quantizer_name": pattern, "cfg": INT4})


def test_stock_exclusions_of_other_networks_are_accepted(config) -> None:
    entries = (
        {"quantizer_name": "*weight_quantizer", "cfg": INT4},
        *KEPT,
        {"quantizer_name": "*router*", "enable": False},
    )
    assert make_plan(recipe(*entries), config, head=False).formats


def test_recipe_that_quantizes_no_layer_is_refused(config) -> None:
    assert "quantizes no layer" in refusal(config)


def test_accidental_head_is_refused(config) -> None:
    # What ModelOpt's stock exclusions would do here: they name lm_head.
    said = refusal(config, {"quantizer_name": "*weight_quantizer", "cfg": INT4}, KEPT[0])
    assert "diffusion_head (weight_quantizer): the head is quantized on request only" in said


def test_quantized_embedding_is_refused(config) -> None:
    said = refusal(config, {"quantizer_name": "*weight_quantizer", "cfg": INT4}, KEPT[1])
    assert "encoder.embed_tokens (weight_quantizer): only linear layers" in said


def test_quantized_outputs_are_refused(config) -> None:
    entries = (
        {"quantizer_name": "*weight_quantizer", "cfg": INT4},
        {"quantizer_name": "*v_proj.output_quantizer", "cfg": {"num_bits": (4, 3)}},
    )
    assert "outputs stay in high precision" in refusal(config, *entries, *KEPT)


def test_mixed_precision_is_planned_per_layer(config) -> None:
    entries = (
        {"quantizer_name": "*mlp*weight_quantizer", "cfg": INT4},
        {"quantizer_name": "*self_attn*weight_quantizer", "cfg": {"num_bits": (4, 3), "axis": 0}},
        {
            "quantizer_name": "*self_attn*input_quantizer",
            "cfg": {"num_bits": (4, 3), "type": "dynamic", "block_sizes": {-1: None}},
        },
        {"quantizer_name": "*layers.0.*", "enable": False},
        *KEPT,
    )
    plan = make_plan(recipe(*entries), config, head=False)
    assert plan.hf_quant_config["quantization"]["quant_algo"] == "MIXED_PRECISION"
    assert plan.formats["encoder.layers.1.mlp.up_proj"].algorithm.name == "W4A16_AWQ"
    assert plan.formats["encoder.layers.1.self_attn.q_proj"].algorithm.name == "FP8_PER_CHANNEL_PER_TOKEN"
    assert not plan.touches("encoder.layers.0")


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("int4_awq", True),
        ("fp8", True),
        ("nvfp4", True),
        ("int4_rtn", False),
        ("fp8_pc_pt", False),
        ("w4a16_nvfp4", False),
    ],
)
def test_only_formats_that_read_activations_need_data(config, name: str, needs: bool) -> None:
    assert make_plan(Recipe.shipped(name), config, head=False).reads_activations == needs

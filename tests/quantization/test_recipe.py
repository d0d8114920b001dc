# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Recipes: those that ship, and what is wrong with those that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nld_trt.errors import InputError
from nld_trt.quantization.recipe import METHODS, Recipe, shipped_names

FORMATS = ("fp8", "fp8_pc_pt", "int4_awq", "int4_rtn", "nvfp4", "w4a16_nvfp4")


def test_the_promised_formats_ship() -> None:
    assert tuple(shipped_names()) == FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_shipped_recipe_loads(name: str) -> None:
    recipe = Recipe.shipped(name)
    assert recipe.name == name
    assert recipe.description
    assert recipe.algorithm["method"] in METHODS


@pytest.mark.parametrize("name", FORMATS)
def test_every_layer_left_in_high_precision_has_its_reason_above_it(name: str, root: Path) -> None:
    lines = (root / "quantize" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    off = [index for index, line in enumerate(lines) if "quantizer_name:" in line and "false" in lines[index + 1]]
    kept = [index for index in off if "'*'" not in lines[index]]
    assert len(kept) == 2
    assert all(lines[index - 1].strip().startswith("#") for index in kept)


@pytest.mark.parametrize("name", FORMATS)
def test_shipped_recipe_is_plain_modelopt(name: str, root: Path) -> None:
    content = yaml.safe_load((root / "quantize" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert content.keys() == {"metadata", "quantize"}


def test_stock_units_can_be_imported(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "imports:\n  base: configs/ptq/units/base_disable_all\n  fp8: configs/ptq/units/w8a8_fp8_fp8\n"
        "metadata:\n  recipe_type: ptq\n  description: mine\n"
        "quantize:\n  algorithm: max\n  quant_cfg:\n    - $import: base\n    - $import: fp8\n",
        encoding="utf-8",
    )
    recipe = Recipe.load(path)
    assert [entry["quantizer_name"] for entry in recipe.entries] == ["*", "*weight_quantizer", "*input_quantizer"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a ModelOpt PTQ recipe"),
        ("a: [", "not a ModelOpt PTQ recipe"),
        ("metadata: {recipe_type: ptq}", "not a ModelOpt PTQ recipe"),
        (
            "metadata: {recipe_type: ptq, description: x}\n"
            "quantize: {algorithm: max, quant_cfg: [{quantizer_name: a}]}",
            "not a ModelOpt PTQ recipe",
        ),
        (
            "metadata: {recipe_type: ptq, description: x}\n"
            "quantize: {algorithm: gptq, quant_cfg: [{quantizer_name: '*', enable: false}]}",
            "calibration method 'gptq'",
        ),
    ],
)
def test_unusable_recipe_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        Recipe.load(path)


def test_unknown_format_lists_those_that_exist() -> None:
    with pytest.raises(InputError, match="no quantization format 'int3'") as caught:
        Recipe.shipped("int3")
    assert all(name in caught.value.details[0] for name in FORMATS)


def test_missing_recipe_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a file"):
        Recipe.load(tmp_path / "absent.yaml")

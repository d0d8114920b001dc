# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The audit of quantized checkpoints, on another tool's export with one fault each."""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from nld_trt.errors import InputError
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from nld_trt.model.quantized.audit import audit
from nld_trt.model.safetensors_file import SafetensorsFile, SafetensorsWriter, dtype_name
from tests.quantized_checkpoint import Export, write_quantized

ALGORITHMS = ("W4A16_AWQ", "FP8", "FP8_PER_CHANNEL_PER_TOKEN", "W4A16_NVFP4")
MODULE = "encoder.layers.1.mlp.up_proj"


@pytest.fixture
def export(golden, tmp_path: Path):
    """A folder in ModelOpt's layout, by algorithm."""

    def write(algorithm: str = "W4A16_AWQ", **options) -> Path:
        folder = tmp_path / algorithm
        write_quantized(golden("tiny-a").folder, folder, Export(algorithm=algorithm, **options))
        return folder

    return write


def edit(folder: Path, change) -> Path:
    """Rewrite the weights after ``change`` has altered the mapping of names to arrays."""
    path = folder / "model.safetensors"
    file = SafetensorsFile.open(path)
    tensors = {name: file.read(name) for name in file.tensors}
    change(tensors)
    declared = {name: (dtype_name(tensor.dtype), tensor.shape) for name, tensor in tensors.items()}
    with SafetensorsWriter(path, declared) as writer:
        for name, tensor in tensors.items():
            writer.write(name, tensor)
    return folder


def problems(folder: Path, **options) -> str:
    return "\n".join(audit(Checkpoint.open(folder), **options).problems)


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        Checkpoint.open(folder)
    return "\n".join((str(caught.value), *caught.value.details, str(caught.value.fix)))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_another_tools_export_passes(export, algorithm: str) -> None:
    assert not problems(export(algorithm), head=False)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_export_is_converted_with_its_quantization(export, tmp_path: Path, algorithm: str) -> None:
    source, target = export(algorithm), tmp_path / "converted"
    manifest = convert(source, target)
    assert manifest["quantization"]["algorithm"] == algorithm
    assert Checkpoint.open_converted(target, verify=True).formats == Checkpoint.open(source).formats


def test_other_excluded_modules_are_understood(export) -> None:
    excluded = ("diffusion_head", "encoder.layers.0*", "*mlp.down_proj")
    checkpoint = Checkpoint.open(export(excluded=excluded))
    assert not any("layers.0" in module or "down_proj" in module for module in checkpoint.formats)
    assert checkpoint.formats[MODULE].group_size == 16
    assert not audit(checkpoint).problems


def test_mixed_precision_is_understood(export) -> None:
    mixed = {"*self_attn.*": ("FP8", 0), "*mlp.*": ("W4A16_AWQ", 32)}
    checkpoint = Checkpoint.open(export(mixed=mixed))
    assert {format.algorithm.name for format in checkpoint.formats.values()} == {"FP8", "W4A16_AWQ"}
    assert checkpoint.formats[MODULE].group_size == 32
    assert not audit(checkpoint).problems


@pytest.mark.parametrize("files", [("hf_quant_config.json",), ("config.json",)])
def test_one_of_the_two_files_is_enough(export, files: tuple[str, ...]) -> None:
    checkpoint = Checkpoint.open(export(files=files))
    assert checkpoint.formats[MODULE].group_size == 16


def test_files_that_disagree_are_refused(export) -> None:
    folder = export()
    path = folder / "hf_quant_config.json"
    stated = json.loads(path.read_text(encoding="utf-8"))
    stated["quantization"]["exclude_modules"] = []
    path.write_text(json.dumps(stated), encoding="utf-8")
    assert "disagree about the quantization" in refusal(folder)


def test_missing_scale_is_refused_by_name(export) -> None:
    folder = edit(export(), lambda tensors: tensors.pop(f"{MODULE}.weight_scale"))
    assert f"missing: {MODULE}.weight_scale" in refusal(folder)


def test_extra_scale_is_refused_by_name(export) -> None:
    folder = edit(export(), lambda tensors: tensors.update({f"{MODULE}.input_scale": np.float32([1.0])}))
    assert f"unexpected: {MODULE}.input_scale" in refusal(folder)


def test_layer_that_says_one_type_and_holds_another_is_refused(export, golden) -> None:
    plain = golden("tiny-a").read(f"{MODULE}.weight")

    def swap(tensors: dict) -> None:
        tensors[f"{MODULE}.weight"] = plain
        del tensors[f"{MODULE}.weight_scale"]

    assert f"{MODULE}.weight is {dtype_name(plain.dtype)}; supported: U8" in refusal(edit(export(), swap))


def test_fp4_label_on_fp8_weights_is_refused(export) -> None:
    def relabel(text: str) -> str:
        return text.replace('"FP8"', '"W4A16_NVFP4"')

    folder = export("FP8")
    for name in ("hf_quant_config.json", "config.json"):
        (folder / name).write_text(relabel((folder / name).read_text(encoding="utf-8")), encoding="utf-8")
    assert "encoder.layers.0.self_attn.q_proj.weight is F8_E4M3; supported: U8" in refusal(folder)


def test_scales_without_a_quantization_file_are_explained(export) -> None:
    assert "copy that file of the export as well" in refusal(export(files=()))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scale_that_is_not_finite_is_found(export, value: float) -> None:
    def spoil(tensors: dict) -> None:
        tensors[f"{MODULE}.weight_scale"][0, 0] = value

    assert f"{MODULE}.weight_scale: 1 of" in problems(edit(export(), spoil))


@pytest.mark.parametrize("value", [0.0, -1.0])
@pytest.mark.parametrize("scale", ["weight_scale", "input_scale"])
def test_scale_that_is_not_positive_is_found(export, scale: str, value: float) -> None:
    def spoil(tensors: dict) -> None:
        tensors[f"{MODULE}.{scale}"] = np.full_like(tensors[f"{MODULE}.{scale}"], value)

    assert f"{MODULE}.{scale}: 1 of 1 scales are not positive" in problems(edit(export("FP8"), spoil))


def test_fp8_nan_codes_are_found(export) -> None:
    def spoil(tensors: dict) -> None:
        tensors[f"{MODULE}.weight"].view(np.uint8)[0, 0] = 0x7F

    assert f"{MODULE}.weight: 1 rows hold NaN" in problems(edit(export("FP8_PER_CHANNEL_PER_TOKEN"), spoil))


@pytest.mark.parametrize("algorithm", ["W4A16_AWQ", "FP8_PER_CHANNEL_PER_TOKEN", "W4A16_NVFP4"])
def test_weights_that_do_not_fit_their_scales_are_found(export, algorithm: str) -> None:
    def swap(tensors: dict) -> None:
        weight = tensors[f"{MODULE}.weight"]
        zeros = np.zeros(weight.shape, np.uint8)
        tensors[f"{MODULE}.weight"] = zeros.view(ml_dtypes.float8_e4m3fn) if weight.dtype != np.uint8 else zeros

    assert "of its groups reach the end of the" in problems(edit(export(algorithm), swap))


def test_accidentally_quantized_head_is_found(export) -> None:
    assert "diffusion_head is quantized, and should not be so" in problems(export(excluded=()), head=False)


def test_head_that_was_left_out_is_found(export) -> None:
    assert "diffusion_head is not quantized, and should not be so" in problems(export(), head=True)


def test_bits_per_weight_count_the_scales(export) -> None:
    checkpoint = Checkpoint.open(export(scale_dtype="F16"))
    bits = {linear.module: linear.bits_per_weight for linear in audit(checkpoint).linears}
    assert bits[MODULE] == pytest.approx(4 + 16 / 16)
    assert bits["diffusion_head"] == 8 * checkpoint.nbytes_of("diffusion_head.weight") / np.prod(
        checkpoint.shape_of("diffusion_head.weight")
    )


def test_another_group_size_than_the_scales_have_is_refused(export) -> None:
    folder = export()
    path = folder / "hf_quant_config.json"
    stated = json.loads(path.read_text(encoding="utf-8"))
    stated["quantization"]["group_size"] = 32
    path.write_text(json.dumps(stated), encoding="utf-8")
    assert f"{MODULE}.weight_scale is" in refusal(folder)


def test_group_size_that_divides_nothing_is_refused(export) -> None:
    folder = export()
    path = folder / "hf_quant_config.json"
    stated = json.loads(path.read_text(encoding="utf-8"))
    stated["quantization"]["group_size"] = 48
    path.write_text(json.dumps(stated), encoding="utf-8")
    assert "groups of 48 do not divide" in refusal(folder)

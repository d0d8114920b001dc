# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Exports that were made for quantized keys and values, and what their quantization files call the modules."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

from nld_trt.cli import cli
from nld_trt.errors import InputError
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert
from tests.quantized_checkpoint import Export, cache_scales, write_quantized


@pytest.fixture
def export(golden, tmp_path: Path):
    """A folder in ModelOpt's layout."""

    def write(**options) -> Path:
        return write_quantized(golden("tiny-a").folder, tmp_path / "export", Export(**options))

    return write


def restate(folder: Path, **changes: object) -> None:
    """Change the statement in hf_quant_config.json, which then is the only one."""
    path = folder / "hf_quant_config.json"
    stated = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**stated, "quantization": {**stated["quantization"], **changes}}), encoding="utf-8")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config.pop("quantization_config", None)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize("algorithm", ["FP8", "NVFP4", "W4A16_AWQ"])
@pytest.mark.parametrize("kv_cache", ["FP8", "NVFP4"])
def test_weights_convert_and_the_scales_of_caches_stay_behind(
    export, tmp_path: Path, algorithm: str, kv_cache: str
) -> None:
    folder = export(algorithm=algorithm, kv_cache=kv_cache)
    manifest = convert(folder, tmp_path / "out")
    converted = Checkpoint.open_converted(tmp_path / "out", verify=True)
    assert not set(cache_scales(converted.config)) & set(converted.names)
    assert converted.kv_cache == manifest["quantization"]["kv_cache"] == kv_cache
    (line,) = manifest["notes"]
    assert line.startswith("4 tensors left out, such as encoder.layers.0.self_attn.k_proj.k_scale")
    assert "--kv-cache" in line
    assert converted.notes == ()


@pytest.mark.parametrize("files", [("config.json",), ("hf_quant_config.json",)])
@pytest.mark.parametrize("kv_cache", ["FP8", "NVFP4", "INT8", None])
def test_each_file_alone_says_what_the_caches_are(export, files: tuple[str, ...], kv_cache: str | None) -> None:
    assert Checkpoint.open(export(algorithm="FP8", kv_cache=kv_cache, files=files)).kv_cache == kv_cache


@pytest.mark.parametrize("stated", ["none", "", "NONE", False])
def test_caches_that_are_said_to_be_ordinary_are(export, stated: object) -> None:
    folder = export(algorithm="FP8")
    restate(folder, kv_cache_quant_algo=stated)
    assert Checkpoint.open(folder).kv_cache is None


@pytest.mark.parametrize("algorithm", [None, "NO_QUANT"])
def test_caches_may_be_all_that_is_quantized(release, tmp_path: Path, algorithm: str | None) -> None:
    statement = {"quant_algo": algorithm, "kv_cache_quant_algo": "FP8", "exclude_modules": []}
    (release.folder / "hf_quant_config.json").write_text(json.dumps({"quantization": statement}), encoding="utf-8")
    scale = {"encoder.layers.0.self_attn.k_proj.k_scale": np.ones((), np.float32)}
    release.edit_tensors(lambda tensors: tensors.update(scale))
    convert(release.folder, tmp_path / "out")
    converted = Checkpoint.open_converted(tmp_path / "out")
    assert (converted.quantization, converted.kv_cache) == (None, "FP8")


# Names of modules in the quantization's statement


@pytest.mark.parametrize(
    "name", ["lm_head", "*lm_head*", "model.lm_head", "*.diffusion_head", "_orig_mod.diffusion_head"]
)
def test_the_head_is_excluded_under_other_names(export, name: str) -> None:
    folder = export(algorithm="FP8")
    restate(folder, exclude_modules=[name.replace("*.", "*")])
    assert "diffusion_head" not in Checkpoint.open(folder).formats


@pytest.mark.parametrize(
    "name", ["model.layers.0.mlp*", "layers.0.mlp*", "module.encoder.layers.0.mlp", "*.layers.0.mlp.*"]
)
def test_layers_are_excluded_under_other_names(export, name: str) -> None:
    folder = export(algorithm="FP8", excluded=("diffusion_head", "encoder.layers.0.mlp*"))
    restate(folder, exclude_modules=["lm_head", name])
    assert not any("layers.0.mlp" in module for module in Checkpoint.open(folder).formats)


def test_layers_of_a_mixed_checkpoint_are_found_under_other_names(export) -> None:
    folder = export(mixed={"*_proj": ("FP8", 0)})
    expected = Checkpoint.open(folder).formats
    layers = {name.replace("encoder.", "model."): found.to_dict() for name, found in expected.items()}
    restate(folder, quantized_layers=layers)
    assert Checkpoint.open(folder).formats == expected


def test_a_quantized_export_may_rename_its_tensors(export) -> None:
    folder = export(kv_cache="FP8")
    expected = Checkpoint.open(folder)
    path = folder / "model.safetensors"
    tensors = {
        name.replace("encoder.", "model.").replace("diffusion_head", "lm_head"): tensor
        for name, tensor in load_file(path).items()
    }
    save_file(tensors, path)
    checkpoint = Checkpoint.open(folder)
    assert (checkpoint.names, checkpoint.formats) == (expected.names, expected.formats)


# The choice of build


def built(folder: Path, target: Path, *arguments: str):
    arguments = ("build", str(folder), "-o", str(target), "--dry-run", "--max-seq-len", "64", *arguments)
    return CliRunner().invoke(cli, arguments)


@pytest.fixture
def made_for_fp8(export, tmp_path: Path) -> Path:
    """A converted checkpoint that was made for FP8 caches."""
    convert(export(algorithm="FP8", kv_cache="FP8"), tmp_path / "converted")
    return tmp_path / "converted"


@pytest.mark.parametrize("arguments", [(), ("--kv-cache", "auto")])
def test_build_says_that_caches_are_in_its_own_precision(made_for_fp8: Path, tmp_path: Path, arguments) -> None:
    done = built(made_for_fp8, tmp_path / "engine", *arguments)
    assert done.exit_code == 0, done.output
    assert "made for FP8 key/value caches" in done.stderr
    assert "caches are in fp32" in done.stderr


def test_build_says_nothing_when_that_was_asked_for(made_for_fp8: Path, tmp_path: Path) -> None:
    done = built(made_for_fp8, tmp_path / "engine", "--kv-cache", "engine")
    assert done.exit_code == 0, done.output
    assert "caches" not in done.stderr


def test_build_refuses_when_the_checkpoints_caches_are_insisted_on(made_for_fp8: Path, tmp_path: Path) -> None:
    done = built(made_for_fp8, tmp_path / "engine", "--kv-cache", "checkpoint")
    assert isinstance(done.exception, InputError)
    assert "was made for FP8 key/value caches, which no backend can run" in str(done.exception)


def test_a_build_configuration_can_hold_the_choice(made_for_fp8: Path, tmp_path: Path) -> None:
    (tmp_path / "build.yaml").write_text("kv_cache: engine\n", encoding="utf-8")
    done = built(made_for_fp8, tmp_path / "engine", "--config", str(tmp_path / "build.yaml"), "--json")
    assert json.loads(done.stdout)["plans"][0]["kv_cache"] == "engine"

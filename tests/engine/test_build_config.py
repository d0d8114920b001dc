# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Build configurations: those that are shipped work, and mistakes in others are named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nld_trt import names
from nld_trt.engine.build_config import BuildConfig
from nld_trt.engine.platforms import PLATFORMS
from nld_trt.engine.trt.flavour import TRT_RTX
from nld_trt.errors import InputError
from nld_trt.graph.contract import Limits
from nld_trt.model.config import ModelConfig
from nld_trt.model.inventory import parameter_count
from nld_trt.model.synthetic import PRESETS, release_config

FOLDER = Path(__file__).parents[2] / "build_configs"
SHIPPED = sorted(FOLDER.glob("*.yaml"))
RELEASES = [path for path in SHIPPED if not path.name.startswith("nld-tiny")]

# What a plan needs beside weights and caches, of the GPU's memory. Measured for the 8B shapes: 14 % of the caches.
SPARE = 0.85


def write(folder, text) -> Path:
    path = folder / "build.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_gpu_platform_has_one_configuration():
    gpus = [name for name, known in PLATFORMS.items() if known.compute_capabilities]
    assert {path.name for path in RELEASES} == {f"{name}.yaml" for name in gpus}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_configuration_decides_everything(path):
    config = BuildConfig.from_yaml(path)
    assert None not in (config.precision, config.max_batch_size, config.max_seq_len, config.lora)
    for name in config.platforms:
        known = PLATFORMS[name]
        assert name in path.name or path.name.startswith("nld-tiny")
        assert config.backends[0] == known.backends[0], "a configuration uses what the platform prefers"
        if config.backends == ("trt-rtx",):
            assert set(known.compute_capabilities) <= TRT_RTX.targets.keys()


def arithmetic(path: Path, size: str) -> list[float]:
    """The comment's line for one model: weights, adapter, caches, intermediate values, together, rows that fit."""
    [line] = re.findall(rf"^# +{size.upper()} +([\d. ]+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [float(number) for number in line.split()]


def weights_and_cache(config: BuildConfig, size: str) -> tuple[int, int]:
    """Bytes of one release's weights, and of one row's cache."""
    model = ModelConfig.from_hf(release_config(PRESETS[size]))
    limits = Limits(config.max_batch_size, config.max_seq_len, config.block_length, config.prompt_chunk)
    return 2 * parameter_count(model), 2 * model.kv_elements_per_token * limits.capacity


@pytest.mark.parametrize("size", names.NLD_SIZES)
@pytest.mark.parametrize("path", RELEASES, ids=lambda path: path.name)
def test_weights_and_caches_of_every_release_fit_the_platform(path, size):
    config = BuildConfig.from_yaml(path)
    weights, cache = weights_and_cache(config, size)
    assert weights + cache * config.max_batch_size < SPARE * PLATFORMS[config.platforms[0]].memory_gb * 1e9


@pytest.mark.parametrize("size", names.NLD_SIZES)
@pytest.mark.parametrize("path", RELEASES, ids=lambda path: path.name)
def test_comment_has_the_arithmetic_of_the_values(path, size):
    config = BuildConfig.from_yaml(path)
    weights, cache = weights_and_cache(config, size)
    memory = PLATFORMS[config.platforms[0]].memory_gb
    *parts, together, fitting = arithmetic(path, size)
    assert parts[0] == round(weights / 1e9, 2)
    assert parts[2] == round(cache * config.max_batch_size / 1e9, 2)
    assert together == round(sum(parts), 2)
    assert f"of {memory}. " in path.read_text(encoding="utf-8")
    rows = [1 << power for power in range(12) if weights + (cache << power) < SPARE * memory * 1e9]
    assert fitting == max(rows)


def test_nothing_said_leaves_every_choice_open(tmp_path):
    assert BuildConfig.from_yaml(write(tmp_path, "backends: []\n")) == BuildConfig()


def test_unknown_keys_are_all_named_with_those_that_exist(tmp_path):
    path = write(tmp_path, "max_batch: 4\ntp_size: 2\n")
    with pytest.raises(InputError, match=r"(?s)unknown keys: max_batch, tp_size.*backends, platforms, precision"):
        BuildConfig.from_yaml(path)


def test_wrong_values_are_all_listed(tmp_path):
    path = write(
        tmp_path,
        "backends: ort\nplatforms: [b300]\nprecision: fp8\nlora: 1\n"
        "max_batch_size: 0\nmax_seq_len: many\nblock_length: true\n",
    )
    with pytest.raises(InputError) as caught:
        BuildConfig.from_yaml(path)
    assert [line.split(";")[0] for line in caught.value.details] == [
        "platforms has 'b300'",
        "backends is 'ort'",
        "precision is 'fp8'",
        "max_batch_size is 0",
        "max_seq_len is 'many'",
        "block_length is True",
        "lora is 1",
    ]


MISMATCHES = {
    "platforms: [h100]\nbackends: [trt-rtx]\n": "platform h100 runs torch, trt, not trt-rtx",
    "platforms: [cpu]\nbackends: [ort, trt]\n": "backend trt runs on none of the platforms cpu",
}


@pytest.mark.parametrize("text", MISMATCHES)
def test_backends_and_platforms_must_go_together(tmp_path, text):
    with pytest.raises(InputError, match=MISMATCHES[text]):
        BuildConfig.from_yaml(write(tmp_path, text))


NOT_SETTINGS = {
    "": "holds no settings",
    "- ort\n": "holds no settings",
    "a: [\n": "not valid YAML",
    "a: b: c\n": "not valid",
}


@pytest.mark.parametrize("text", NOT_SETTINGS)
def test_files_that_are_something_else_are_refused(tmp_path, text):
    with pytest.raises(InputError, match=NOT_SETTINGS[text]):
        BuildConfig.from_yaml(write(tmp_path, text))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*absent.yaml: No such file"):
        BuildConfig.from_yaml(tmp_path / "absent.yaml")


@pytest.mark.parametrize("digits", [10, 900, 5000])
def test_endless_numbers_are_refused(tmp_path, digits: int):
    with pytest.raises(InputError) as caught:
        BuildConfig.from_yaml(write(tmp_path, "max_batch_size: " + "9" * digits))
    assert len(str(caught.value)) < 400

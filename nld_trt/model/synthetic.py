# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints with random weights and the shapes of a release, for tests of size, memory and speed without a download.

The text of such a model is noise; its bytes, shapes, dtypes and cost are those of the real model. Every value is
random, because compilers store identical weights once, so constants would give wrong sizes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nld_trt.files import human_bytes, publish_folder, write_json
from nld_trt.model import adapter as adapters
from nld_trt.model.adapter import tensor_names
from nld_trt.model.adapter_config import CONFIG_FILE as ADAPTER_CONFIG_FILE
from nld_trt.model.adapter_config import TARGET
from nld_trt.model.checkpoint import CONFIG_FILE
from nld_trt.model.config import ModelConfig
from nld_trt.model.convert import SPARE_BYTES
from nld_trt.model.family import NLD
from nld_trt.model.inventory import HEAD, expected_tensors, parameter_count
from nld_trt.model.names import release_name
from nld_trt.model.release_config import release_config
from nld_trt.model.releases import PRESETS, Geometry, preset
from nld_trt.model.safetensors_file import NUMPY_TYPES, Array, SafetensorsWriter, byte_size
from nld_trt.model.shards import WEIGHTS_FILE
from nld_trt.progress import SILENT, Progress

__all__ = ["ADAPTER_ALPHA", "ADAPTER_RANK", "PRESETS", "Geometry", "preset", "release_config", "write_synthetic"]

ADAPTER_RANK, ADAPTER_ALPHA = 128, 512

# The standard deviation of every matrix, which is the releases' initializer_range.
_DEVIATION = np.float32(0.02)
_CHUNK_ELEMENTS = 1 << 22
_TIED = "tie_word_embeddings"


def write_synthetic(
    geometry: Geometry | str,
    target: Path,
    seed: int = 0,
    *,
    adapter: bool = True,
    force: bool = False,
    progress: Progress = SILENT,
) -> ModelConfig:
    """Write a random checkpoint in the layout of a release (BF16, one weights file). Returns its configuration.

    A tensor's values depend on the seed and its name only, so models of different depth share layers.

    Args:
        geometry: one of :data:`PRESETS` by name, or any geometry.
        adapter: add ``linear_spec_lora/`` with the releases' rank and alpha, in float32, if releases of its family have
            one.
        force: replace an earlier checkpoint in ``target``.
        progress: is told of the stage.

    Raises:
        InputError: the preset is unknown, or ``target`` is taken. Nothing is left behind.
        OperationError: the disk has too little space.
    """
    raw = release_config(preset(geometry) if isinstance(geometry, str) else geometry)
    config = ModelConfig.from_hf(raw)
    stored = {name: shape for name, shape in expected_tensors(config).items() if name != HEAD or not raw[_TIED]}
    own = config.family.name == NLD
    weights = {name if own else release_name(name, config.family): ("BF16", shape) for name, shape in stored.items()}
    drafter = _adapter_tensors(config) if adapter and own else {}
    needs = sum(byte_size(*declared) for declared in (*weights.values(), *drafter.values())) + SPARE_BYTES
    with (
        progress.stage("writing random weights") as stage,
        publish_folder(target, force, needs_bytes=needs, marker=CONFIG_FILE) as folder,
    ):
        stage.detail(f"{parameter_count(config):,} values, {human_bytes(needs - SPARE_BYTES)}")
        write_json(folder / CONFIG_FILE, raw)
        keys = ("bos_token_id", "eos_token_id", "transformers_version")
        generation = {key: raw[key] for key in keys if key in raw}
        write_json(folder / "generation_config.json", generation)
        _write_random(folder / WEIGHTS_FILE, weights, seed)
        if drafter:
            (folder / adapters.ADAPTER_FOLDER).mkdir()
            write_json(folder / adapters.ADAPTER_FOLDER / ADAPTER_CONFIG_FILE, _adapter_config())
            _write_random(folder / adapters.ADAPTER_FOLDER / adapters.WEIGHTS_FILE, drafter, seed)
    return config


def _adapter_tensors(config: ModelConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for layer in range(config.num_hidden_layers):
        name_a, name_b = tensor_names(layer)
        tensors[name_a] = ("F32", (ADAPTER_RANK, config.query_size))
        tensors[name_b] = ("F32", (config.hidden_size, ADAPTER_RANK))
    return tensors


def _adapter_config() -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "r": ADAPTER_RANK,
        "lora_alpha": ADAPTER_ALPHA,
        "target_modules": [TARGET],
        "bias": "none",
        "inference_mode": True,
        "lora_dropout": 0.0,
        "fan_in_fan_out": False,
    }


def _write_random(path: Path, tensors: dict[str, tuple[str, tuple[int, ...]]], seed: int) -> None:
    with SafetensorsWriter(path, tensors) as writer:
        for name, (dtype, shape) in tensors.items():
            writer.write_chunks(name, _random_chunks(name, dtype, int(np.prod(shape)), seed))


def _random_chunks(name: str, dtype: str, size: int, seed: int) -> Iterator[Array]:
    random = np.random.Generator(np.random.SFC64([seed, zlib.crc32(name.encode())]))
    # Norm weights of trained models are near one. Values near zero would zero the input of the next layer.
    center = np.float32(1.0 if "norm" in name else 0.0)
    for done in range(0, size, _CHUNK_ELEMENTS):
        values = random.standard_normal(min(_CHUNK_ELEMENTS, size - done), dtype=np.float32)
        yield (center + _DEVIATION * values).astype(NUMPY_TYPES[dtype])

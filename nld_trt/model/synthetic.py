# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints with random weights and the shapes of a release, for tests of size, memory and speed without a download.

The text of such a model is noise; its bytes, shapes, dtypes and cost are those of the real model. Every value is
random, because compilers store identical weights once, so constants would give wrong sizes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
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
from nld_trt.model.draft_config import SHARED, DraftConfig, default_layers
from nld_trt.model.draft_head import DRAFT_FOLDER, FROM_TARGET, TO_TARGET, check_family, expected_shapes
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
# Tokens of most released Eagle3 heads.
DRAFT_VOCAB = 32000

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
    draft_head: bool = False,
    force: bool = False,
    progress: Progress = SILENT,
) -> ModelConfig:
    """Write a random checkpoint in the layout of a release (BF16, one weights file). Returns its configuration.

    A tensor's values depend on the seed and its name only, so models of different depth share layers.

    Args:
        geometry: one of :data:`PRESETS` by name, or any geometry.
        adapter: add ``linear_spec_lora/`` with the releases' rank and alpha, in float32, if releases of its family have
            one.
        draft_head: add ``eagle3/``, an Eagle3 head with the sizes of its target's layers.
        force: replace an earlier checkpoint in ``target``.
        progress: is told of the stage.

    Raises:
        InputError: the preset is unknown, its family takes no head, or ``target`` is taken. Nothing is left behind.
        OperationError: the disk has too little space.
    """
    raw = release_config(preset(geometry) if isinstance(geometry, str) else geometry)
    config = ModelConfig.from_hf(raw)
    stored = {name: shape for name, shape in expected_tensors(config).items() if name != HEAD or not raw[_TIED]}
    own = config.family.name == NLD
    weights = {name if own else release_name(name, config.family): ("BF16", shape) for name, shape in stored.items()}
    drafter = _adapter_tensors(config) if adapter and own else {}
    head = _SyntheticHead.of(config) if draft_head else None
    every = (*weights.values(), *drafter.values(), *(head.tensors.values() if head else ()))
    needs = sum(byte_size(*declared) for declared in every) + SPARE_BYTES
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
        if head is not None:
            head.write(folder / DRAFT_FOLDER, seed)
    return config


@dataclass(frozen=True)
class _SyntheticHead:
    """A random Eagle3 head for the target ``config``."""

    config: ModelConfig
    draft: DraftConfig

    @classmethod
    def of(cls, target: ModelConfig) -> _SyntheticHead:
        """Raises InputError where heads cannot draft for the target."""
        check_family(target)
        return cls(
            target,
            DraftConfig(
                vocab_size=min(DRAFT_VOCAB, target.vocab_size),
                intermediate_size=target.intermediate_size,
                num_attention_heads=target.num_attention_heads,
                rms_norm_eps=target.rms_norm_eps,
                rope_theta=target.rope.rope_theta,
                layers=default_layers(target.num_hidden_layers),
            ),
        )

    @property
    def tensors(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        shapes = expected_shapes(self.draft, self.config)
        tables = {TO_TARGET: ("I64", (self.draft.vocab_size,)), FROM_TARGET: ("BOOL", (self.config.vocab_size,))}
        return {**{name: ("BF16", shape) for name, shape in shapes.items()}, **tables}

    def write(self, folder: Path, seed: int) -> None:
        folder.mkdir()
        target, draft = self.config, self.draft
        raw = {
            **{name: getattr(target, name) for name in (*SHARED, "max_position_embeddings")},
            **{name: getattr(draft, name) for name in ("intermediate_size", "num_attention_heads", "rms_norm_eps")},
            "architectures": ["LlamaForCausalLMEagle3"],
            "model_type": "llama",
            "num_hidden_layers": 1,
            "draft_vocab_size": draft.vocab_size,
            "rope_theta": draft.rope_theta,
        }
        write_json(folder / CONFIG_FILE, raw)
        # Evenly from all of the target's tokens.
        own = np.arange(draft.vocab_size, dtype=np.int64)
        ids = own * target.vocab_size // draft.vocab_size
        tables = {TO_TARGET: ids - own, FROM_TARGET: np.isin(np.arange(target.vocab_size), ids)}
        with SafetensorsWriter(folder / WEIGHTS_FILE, self.tensors) as writer:
            for name, (dtype, shape) in self.tensors.items():
                chunks = [tables[name]] if name in tables else _random_chunks(name, dtype, int(np.prod(shape)), seed)
                writer.write_chunks(name, chunks)


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

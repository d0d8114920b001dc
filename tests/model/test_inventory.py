# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Tensor names, shapes and totals of the releases (docs/model.md, Network and Tensors)."""

from pathlib import Path

import pytest
from safetensors.numpy import load_file

from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.config import ModelConfig
from nld_trt.model.inventory import expected_tensors, parameter_count
from nld_trt.model.synthetic import PRESETS, release_config


def config(size: str) -> ModelConfig:
    return ModelConfig.from_hf(release_config(PRESETS[size]))


@pytest.mark.parametrize(("size", "parameters"), [("3b", 3831659520), ("8b", 8489553920), ("14b", 13506073600)])
def test_released_parameter_counts(size: str, parameters: int) -> None:
    assert parameter_count(config(size)) == parameters


@pytest.mark.parametrize(("size", "tensors"), [("3b", 237), ("8b", 309), ("14b", 363)])
def test_released_tensor_counts(size: str, tensors: int) -> None:
    assert len(expected_tensors(config(size))) == tensors


def test_projection_width_is_heads_times_head_dim() -> None:
    shapes = expected_tensors(config("14b"))
    assert shapes["encoder.layers.39.self_attn.q_proj.weight"] == (4096, 5120)
    assert shapes["encoder.layers.39.self_attn.o_proj.weight"] == (5120, 4096)


def test_names_and_shapes_are_those_of_the_golden_checkpoint(golden_folder: Path) -> None:
    stored = {name: tensor.shape for name, tensor in load_file(golden_folder / "model.safetensors").items()}
    assert expected_tensors(Checkpoint.open(golden_folder).config) == stored

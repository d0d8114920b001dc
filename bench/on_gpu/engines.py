# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Engines for the parts: of the golden checkpoints, and one of real shapes with random weights made on the device."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from nld_trt import names
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.session import EngineInfo, Session
from nld_trt.engine.torch.forms import FORMS
from nld_trt.engine.torch.layout import HEAD_STACK, STACKS, Part
from nld_trt.engine.torch.types import ACTIVATIONS, STORED
from nld_trt.engine.torch.weights import EngineWeights
from nld_trt.graph.contract import Limits
from nld_trt.graph.precision import PRECISIONS
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.config import ModelConfig
from nld_trt.model.convert import convert
from nld_trt.model.safetensors_file import dtype_name
from nld_trt.model.synthetic import PRESETS, release_config
from on_gpu.settings import ROOT, Settings

# The same as the tests' for the golden cases.
GOLDEN_LIMITS = Limits(max_batch_size=8, max_seq_len=512, max_block_length=64, prompt_chunk=48, max_quadratic_length=16)
GOLDENS = ROOT / "tests" / "goldens"
_RANK = 128


def golden_engine(name: str, precision: str, settings: Settings, backend: str = names.TORCH) -> EngineFolder:
    """An engine of a golden checkpoint, or of nld-tiny, built once in the scratch folder."""
    target = settings.scratch / f"{name}-{backend}-{precision}"
    if not target.exists():
        source = ROOT / "examples" / "nld-tiny" if name == "nld-tiny" else GOLDENS / name
        checkpoint = settings.scratch / f"{name}-checkpoint"
        if not checkpoint.exists():
            convert(source, checkpoint)
        limits = replace(GOLDEN_LIMITS, max_batch_size=64) if name == "nld-tiny" else GOLDEN_LIMITS
        plan = BuildPlan(backend, precision, limits, adapter=True)
        build_engine(Checkpoint.open_converted(checkpoint), [plan], target)
    return EngineFolder.open(target)


@dataclass(frozen=True)
class Shape:
    """A model of real shapes.

    Attributes:
        form: how linear layers are stored, a key of ``forms.FORMS``; the head is in high precision.
    """

    size: str
    precision: str
    form: str
    limits: Limits
    layers: int | None = None

    @property
    def config(self) -> ModelConfig:
        config = ModelConfig.from_hf(release_config(PRESETS[self.size]))
        return config if self.layers is None else replace(config, num_hidden_layers=self.layers)

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(self.config, self.limits, names.TORCH, self.precision, has_adapter=True)


def random_weights(shape: Shape, device: torch.device) -> EngineWeights:
    """Weights of the engine's file format, with random values that keep activations finite."""
    config, generator = shape.config, torch.Generator(device).manual_seed(0)
    activation = ACTIVATIONS[shape.precision]

    def normal(*size: int, scale: float = 0.02) -> torch.Tensor:
        return torch.empty(size, dtype=activation, device=device).normal_(0, scale, generator=generator)

    def filled(dtype: torch.dtype, size: tuple[int, ...]) -> torch.Tensor:
        if dtype == torch.uint8:
            return torch.randint(0, 256, size, dtype=dtype, device=device, generator=generator)
        if dtype == torch.float8_e4m3fn:
            return torch.empty(size, dtype=torch.float32, device=device).normal_(generator=generator).to(dtype)
        return torch.full(size, 0.005, dtype=dtype, device=device)

    outputs = {
        "qkv": (config.query_size + 2 * config.key_value_size, config.hidden_size),
        "o": (config.hidden_size, config.query_size),
        "gate_up": (2 * config.intermediate_size, config.hidden_size),
        "down": (config.hidden_size, config.intermediate_size),
    }
    form, tensors, parts = FORMS[shape.form], {}, {}
    group = {"int4": 128, "fp4": 16, "fp4_both": 16}.get(form.name, 0)
    numpy_type: np.dtype[np.generic] = PRECISIONS[shape.precision].numpy_type
    tensors["embedding"] = normal(config.vocab_size, config.hidden_size)
    tensors["final_norm"] = torch.ones(config.hidden_size, dtype=activation, device=device)
    for layer in range(config.num_hidden_layers):
        prefix = f"layers.{layer}."
        for name in ("input_norm", "post_norm"):
            tensors[prefix + name] = torch.ones(config.hidden_size, dtype=activation, device=device)
        tensors[prefix + "lora_a"] = normal(_RANK, config.query_size)
        tensors[prefix + "lora_b"] = normal(config.hidden_size, _RANK)
        for stack in STACKS:
            rows, columns = outputs[stack]
            part = Part(
                f"{prefix}{stack}.0", form.name, (), rows, columns, group,
                input_scale=0.05 if form.rounding in ("fp8", "fp4") else None,
            )  # fmt: skip
            for name, (dtype, size) in form.tensors(rows, columns, group, numpy_type).items():
                stored = STORED[dtype_name(dtype)]
                is_weight = stored == activation and len(size) == 2 and name == "weight"
                tensors[f"{part.name}.{name}"] = normal(*size) if is_weight else filled(stored, size)
            parts[prefix + stack] = (part,)
    head = Part(f"{HEAD_STACK}.0", "float", (), config.vocab_size, config.hidden_size)
    tensors[f"{head.name}.weight"] = normal(config.vocab_size, config.hidden_size)
    return EngineWeights(tensors, {**parts, HEAD_STACK: (head,)})


def open_random(shape: Shape) -> Session:
    """A session on the GPU with random weights."""
    from nld_trt.engine.torch.cuda import open_weights

    return open_weights(lambda device: random_weights(shape, device), shape.info)

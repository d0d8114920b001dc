# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The draft adapter in ``linear_spec_lora/``: a low-rank term on every attention output projection (model-spec 2.2)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nld_trt.errors import InputError
from nld_trt.files import inside, read_json
from nld_trt.model.config import ModelConfig
from nld_trt.model.safetensors_file import SafetensorsFile

Float32 = npt.NDArray[np.float32]

ADAPTER_FOLDER = "linear_spec_lora"
CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
TARGET_MODULES = ["o_proj"]
ADAPTER_DTYPES = ("F32", "BF16", "F16")

# PEFT settings that change what the tensors mean, and the values that mean "plain LoRA on o_proj".
# The first two must be there; the others may be left out.
_REQUIRED: dict[str, tuple[Any, ...]] = {"peft_type": ("LORA",), "target_modules": (TARGET_MODULES,)}
_OPTIONAL: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "use_dora": (False, None),
    "use_rslora": (False, None),
    "use_qalora": (False, None),
    "lora_bias": (False, None),
    "fan_in_fan_out": (False, None),
    "modules_to_save": (None, []),
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
    "layers_to_transform": (None, []),
    "layer_replication": (None, []),
    "target_parameters": (None, []),
    "exclude_modules": (None, []),
}

_FIX = "Use the linear_spec_lora/ folder that was released with the weights, or remove it to go without an adapter."


def tensor_names(layer: int) -> tuple[str, str]:
    """Names of A [rank, query_size] and B [hidden, rank] of one layer."""
    prefix = f"base_model.model.encoder.layers.{layer}.self_attn.o_proj"
    return f"{prefix}.lora_A.weight", f"{prefix}.lora_B.weight"


@dataclass(frozen=True)
class Adapter:
    """A checked adapter; its tensors are read on request.

    W_draft = W_o + scale · B · A. It is on in the bidirectional draft passes of linear self-speculation
    and off everywhere else.

    Attributes:
        stored_names: canonical tensor name to the name in the file.
    """

    rank: int
    alpha: float
    layers: int
    raw_config: Mapping[str, Any]
    file: SafetensorsFile
    stored_names: Mapping[str, str]

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def parameters(self) -> int:
        return sum(math.prod(info.shape) for info in self.file.tensors.values())

    def names(self, layer: int) -> tuple[str, str]:
        return tensor_names(layer)

    def shape_of(self, name: str) -> tuple[int, ...]:
        return self.file.tensors[self.stored_names[name]].shape

    def read(self, layer: int) -> tuple[Float32, Float32]:
        """A [rank, query_size] and B [hidden, rank] of one layer, in float32 and without the scale."""
        lora_a, lora_b = (
            self.file.read(self.stored_names[name]).astype(np.float32, copy=False) for name in tensor_names(layer)
        )
        return lora_a, lora_b

    @classmethod
    def open(cls, checkpoint: Path, config: ModelConfig) -> Adapter | None:
        """The adapter of a checkpoint folder, or None when it has no ``linear_spec_lora/``.

        Raises:
            InputError: listing everything that is missing or not a plain LoRA on every o_proj.
        """
        folder = inside(checkpoint, ADAPTER_FOLDER)
        if not folder.exists():
            return None
        paths = [inside(checkpoint, Path(ADAPTER_FOLDER, name)) for name in (CONFIG_FILE, WEIGHTS_FILE)]
        missing = [path.name for path in paths if not path.is_file()]
        if missing:
            raise InputError(f"The adapter in {folder} is incomplete: {' and '.join(missing)} missing", fix=_FIX)
        raw, file = read_json(paths[0]), SafetensorsFile.open(paths[1])
        stored, problems = _canonical_names(file)
        problems = [*_config_problems(raw), *problems]
        if not problems:
            problems = _tensor_problems(file, stored, _expected_shapes(config, raw["r"]))
        if problems:
            raise InputError(f"The adapter in {folder} cannot be used", details=problems, fix=_FIX)
        return cls(raw["r"], float(raw["lora_alpha"]), config.num_hidden_layers, raw, file, stored)


def _expected_shapes(config: ModelConfig, rank: int) -> dict[str, tuple[int, int]]:
    shapes = {}
    for layer in range(config.num_hidden_layers):
        name_a, name_b = tensor_names(layer)
        shapes[name_a], shapes[name_b] = (rank, config.query_size), (config.hidden_size, rank)
    return shapes


def _canonical_names(file: SafetensorsFile) -> tuple[dict[str, str], list[str]]:
    """Canonical to stored names. PEFT versions differ in the prefix and in naming the ``default`` adapter."""
    stored: dict[str, str] = {}
    problems = []
    for name in file.tensors:
        bare = name.removeprefix("base_model.model.")
        canonical = "base_model.model." + bare.replace(".default.weight", ".weight")
        if canonical in stored:
            problems.append(f"{name} and {stored[canonical]} are the same tensor")
        stored[canonical] = name
    return stored, problems


def _config_problems(raw: Mapping[str, Any]) -> list[str]:
    problems = []
    for name, accepted in {**_REQUIRED, **_OPTIONAL}.items():
        if name in _OPTIONAL and name not in raw:
            continue
        if raw.get(name) not in accepted:
            problems.append(f"{CONFIG_FILE}: {name} is {raw.get(name)!r}; supported: {accepted[0]!r}")
    rank, alpha = raw.get("r"), raw.get("lora_alpha")
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        problems.append(f"{CONFIG_FILE}: r is {rank!r}; it must be a positive whole number")
    if not isinstance(alpha, (int, float)) or isinstance(alpha, bool) or not 0 < alpha < math.inf:
        problems.append(f"{CONFIG_FILE}: lora_alpha is {alpha!r}; it must be a positive number")
    return problems


def _tensor_problems(
    file: SafetensorsFile, stored: Mapping[str, str], expected: Mapping[str, tuple[int, int]]
) -> list[str]:
    problems = [f"missing: {name} {list(shape)}" for name, shape in expected.items() if name not in stored]
    problems += [f"unexpected: {stored[name]}" for name in stored if name not in expected]
    for name in (name for name in expected if name in stored):
        info = file.tensors[stored[name]]
        if info.shape != expected[name]:
            problems.append(f"{name} is {list(info.shape)}; {list(expected[name])} was expected")
        if info.dtype not in ADAPTER_DTYPES:
            problems.append(f"{name} is {info.dtype}; supported: {', '.join(ADAPTER_DTYPES)}")
    return problems

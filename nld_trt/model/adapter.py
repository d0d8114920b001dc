# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The draft adapter in ``linear_spec_lora/``: a low-rank term on every attention output projection.

docs/model.md, Draft adapter, describes the format.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nld_trt.errors import InputError, some
from nld_trt.files import inside, read_json
from nld_trt.model.adapter_config import CONFIG_FILE, AdapterConfig
from nld_trt.model.config import ModelConfig
from nld_trt.model.names import canonical
from nld_trt.model.safetensors_file import SafetensorsFile
from nld_trt.model.shards import converting

Float32 = npt.NDArray[np.float32]

ADAPTER_FOLDER = "linear_spec_lora"
WEIGHTS_FILE = "adapter_model.safetensors"
_PICKLED_FILE = "adapter_model.bin"
ADAPTER_DTYPES = ("F32", "BF16", "F16")

# Matches the adapter's name, which some files have in the names of its tensors.
_ADAPTER_NAME = re.compile(r"\.lora_([AB])\.[^.]+\.weight$")
_FIX = "Use the linear_spec_lora/ folder that was released with the weights, or remove it to decode without an adapter."


def tensor_names(layer: int) -> tuple[str, str]:
    """Returns the names of A [rank, query_size] and B [hidden, rank] of one layer."""
    prefix = f"base_model.model.encoder.layers.{layer}.self_attn.o_proj"
    return f"{prefix}.lora_A.weight", f"{prefix}.lora_B.weight"


@dataclass(frozen=True)
class Adapter:
    """A checked adapter, whose tensors are read on request.

    W_draft = W_o + scale · B · A. The adapter is on when tokens are drafted, and off everywhere else.

    Attributes:
        raw_config: the settings of ``adapter_config.json``, in their canonical form.
        stored_names: canonical tensor name to the name in the file.
        notes: a line about settings, and one about tensors, that have another form than in a release.
    """

    rank: int
    alpha: float
    layers: int
    raw_config: Mapping[str, Any]
    file: SafetensorsFile
    stored_names: Mapping[str, str]
    notes: tuple[str, ...] = ()

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
        """Read A [rank, query_size] and B [hidden, rank] of one layer, in float32 and without the scale."""
        lora_a, lora_b = (
            self.file.read(self.stored_names[name]).astype(np.float32, copy=False) for name in tensor_names(layer)
        )
        return lora_a, lora_b

    @classmethod
    def open(cls, checkpoint: Path, config: ModelConfig) -> Adapter | None:
        """Open the adapter of a checkpoint folder. Returns None when it has no ``linear_spec_lora/``.

        Raises:
            InputError: something is missing, or the adapter is not a plain LoRA on every o_proj. All faults are listed.
        """
        folder = inside(checkpoint, ADAPTER_FOLDER)
        if not folder.exists():
            return None
        paths = [inside(checkpoint, Path(ADAPTER_FOLDER, name)) for name in (CONFIG_FILE, WEIGHTS_FILE)]
        missing = [path.name for path in paths if not path.is_file()]
        if missing:
            pickled = missing == [WEIGHTS_FILE] and (folder / _PICKLED_FILE).is_file()
            raise InputError(
                f"The adapter in {folder} is incomplete: {' and '.join(missing)} missing",
                details=[f"{_PICKLED_FILE} is a pickle, which can run any code when loaded"] if pickled else [],
                fix=f"Use the released folder, or {converting(_PICKLED_FILE, WEIGHTS_FILE)}" if pickled else _FIX,
            )
        raw, file = read_json(paths[0]), SafetensorsFile.open(paths[1])
        stored, repeated = _canonical_names(file)
        settings, faults = AdapterConfig.read(raw, config)
        if settings is None or repeated:
            raise InputError(f"The adapter in {folder} cannot be used", details=some(faults, repeated), fix=_FIX)
        problems = _tensor_problems(file, stored, _expected_shapes(config, settings.rank))
        if problems:
            if "rank_pattern" in settings.respelled:
                pattern = f"{CONFIG_FILE}: rank_pattern is {raw['rank_pattern']!r}, rank {settings.rank} in all layers"
                problems.insert(0, pattern)
            raise InputError(f"The adapter in {folder} cannot be used", details=problems, fix=_FIX)
        return cls(
            rank=settings.rank,
            alpha=settings.alpha,
            layers=config.num_hidden_layers,
            raw_config=settings.canonical,
            file=file,
            stored_names=stored,
            notes=tuple(_notes(settings, stored)),
        )


def _expected_shapes(config: ModelConfig, rank: int) -> dict[str, tuple[int, int]]:
    shapes = {}
    for layer in range(config.num_hidden_layers):
        name_a, name_b = tensor_names(layer)
        shapes[name_a], shapes[name_b] = (rank, config.query_size), (config.hidden_size, rank)
    return shapes


def _canonical_names(file: SafetensorsFile) -> tuple[dict[str, str], list[str]]:
    """Map canonical to stored names. PEFT versions differ in prefixes, and in whether they write the adapter's name."""
    stored: dict[str, str] = {}
    problems = []
    for name in file.tensors:
        found = "base_model.model." + canonical(_ADAPTER_NAME.sub(r".lora_\1.weight", name))
        if found in stored:
            problems.append(f"{name} and {stored[found]} are the same tensor")
        stored[found] = name
    return stored, problems


def _notes(settings: AdapterConfig, stored: Mapping[str, str]) -> Iterator[str]:
    if settings.respelled:
        yield f"the adapter's {', '.join(settings.respelled)}: read as LoRA of rank {settings.rank} on every o_proj"
    renamed = [(name, found) for found, name in stored.items() if name != found]
    if renamed:
        yield f"{len(renamed)} tensors of the adapter renamed, such as {renamed[0][0]} to {renamed[0][1]}"


def _tensor_problems(
    file: SafetensorsFile, stored: Mapping[str, str], expected: Mapping[str, tuple[int, int]]
) -> list[str]:
    missing = [f"missing: {name} {list(shape)}" for name, shape in expected.items() if name not in stored]
    unexpected = [f"unexpected: {stored[name]}" for name in stored if name not in expected]
    shapes, dtypes = [], []
    for name in (name for name in expected if name in stored):
        info = file.tensors[stored[name]]
        if info.shape != expected[name]:
            shapes.append(f"{name} is {list(info.shape)}; {list(expected[name])} was expected")
        if info.dtype not in ADAPTER_DTYPES:
            dtypes.append(f"{name} is {info.dtype}; supported: {', '.join(ADAPTER_DTYPES)}")
    return some(missing, unexpected, shapes, dtypes)

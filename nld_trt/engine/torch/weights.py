# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The weights of a ``torch`` engine as tensors on the device that computes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nld_trt.engine.torch.forms import WEIGHT
from nld_trt.engine.torch.layout import Part
from nld_trt.engine.torch.types import STORED
from nld_trt.engine.torch.writer import EMBEDDING_NAME, PARTS_KEY
from nld_trt.files import opened_path
from nld_trt.model.safetensors_file import SafetensorsFile
from nld_trt.progress import SILENT, Progress


@dataclass(frozen=True)
class EngineWeights:
    """Tensors by name, and the parts of each stack of linear layers (``layout.STACKS``)."""

    tensors: Mapping[str, Tensor]
    parts: Mapping[str, tuple[Part, ...]]

    @classmethod
    def load(cls, path: Path, device: torch.device, progress: Progress = SILENT) -> EngineWeights:
        """Map the file, and copy it to a GPU. On the CPU tensors are read from the mapped file when they are used.

        Raises:
            InputError: the file is damaged.
        """
        file = SafetensorsFile.open(path)
        size = path.stat().st_size
        mapped = torch.from_file(opened_path(path), shared=False, size=size, dtype=torch.uint8)
        tensors = {
            name: mapped[info.start : info.stop].view(STORED[info.dtype]).reshape(info.shape)
            for name, info in file.tensors.items()
        }
        if device.type != "cpu":
            unit, unit_bytes = ("GB", 1e9) if size >= 1e9 else ("MB", 1e6)
            with progress.stage("uploading weights", total=size / unit_bytes, unit=unit) as stage:
                for name, stored in tensors.items():
                    tensors[name] = stored.to(device)
                    stage.advance(stored.nbytes / unit_bytes)
        stacks: dict[str, list[Part]] = {}
        for values in json.loads(file.metadata[PARTS_KEY]):
            part = Part.from_dict(values)
            stacks.setdefault(part.name.rpartition(".")[0], []).append(part)
            # The one matrix that may not be stored is a head that is the embedding.
            tensors.setdefault(f"{part.name}.{WEIGHT}", tensors[EMBEDDING_NAME])
        return cls(tensors, {name: tuple(parts) for name, parts in stacks.items()})

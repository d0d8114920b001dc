# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint is, for its user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nld_trt.model import rotary
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.description import quantization_facts
from nld_trt.model.inventory import parameter_count
from nld_trt.model.manifest import MANIFEST_FILE
from nld_trt.model.quantized.audit import audit


def describe_checkpoint(path: Path) -> dict[str, Any]:
    """Verify the checkpoint in ``path``, released or converted, and describe it.

    Raises:
        InputError: it is no checkpoint, or something in it is wrong or was changed.
    """
    converted = (path / MANIFEST_FILE).is_file()
    checkpoint = Checkpoint.open_converted(path, verify=True) if converted else Checkpoint.open(path)
    config = checkpoint.config
    adapter, head = checkpoint.adapter, checkpoint.draft_head
    quantization = None
    if checkpoint.quantization is not None:
        found = audit(checkpoint)
        found.require()
        quantization = {**(quantization_facts(checkpoint) or {}), **found.to_dict()}
    kind = "converted checkpoint" if converted else "release checkpoint"
    return {
        "kind": f"quantized {kind}" if quantization else kind,
        "family": config.family_name,
        "parameters": parameter_count(config),
        "tensors": len(checkpoint.names),
        "weight_bytes": checkpoint.weight_bytes,
        "config": config.to_dict(),
        "generation": checkpoint.generation.to_dict(),
        "rotary_table_sha256": rotary.table_hash(config.rope, config.head_dim),
        "quantization": quantization,
        "draft_adapter": None if adapter is None else {"rank": adapter.rank, "scale": adapter.scale},
        "draft_head": None if head is None else {"parameters": head.parameters},
        "companions": [companion.relative_to(path).as_posix() for companion in checkpoint.companions()],
        "notes": list(checkpoint.notes),
        "next": "nld-trt build" if converted else "nld-trt convert",
    }

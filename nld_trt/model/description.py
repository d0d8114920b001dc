# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The description of a checkpoint, which its manifest and the engines built from it record."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import nld_trt
from nld_trt.files import HubSnapshot, sha256_of
from nld_trt.model import rotary
from nld_trt.model.adapter import ADAPTER_FOLDER, WEIGHTS_FILE
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.draft_head import DRAFT_FOLDER
from nld_trt.model.inventory import HEAD_MODULE, parameter_count
from nld_trt.model.manifest import SCHEMA_VERSION
from nld_trt.model.shards import WEIGHTS_FILE as HEAD_WEIGHTS_FILE


def describe(checkpoint: Checkpoint, folder: Path) -> dict[str, Any]:
    """Make the manifest of ``folder``, whose files were made from ``checkpoint``. Reads and hashes every file."""
    config, adapter, head = checkpoint.config, checkpoint.adapter, checkpoint.draft_head
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    geometry = config.to_dict()
    rope = geometry.pop("rope")
    geometry.pop("family_name", None)
    drafter = geometry.pop("draft", None)
    tokens = {name: geometry.pop(name) for name in list(geometry) if name.endswith("_token_id")}
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "nld-trt", "version": nld_trt.__version__},
        "source": _source(checkpoint.folder),
        "notes": list(checkpoint.notes),
        "family": config.family_name,
        "model_sha256": _identity(checkpoint, files),
        "geometry": geometry,
        "token_ids": tokens,
        "generation": checkpoint.generation.to_dict(),
        "rope": {**rope, "table_sha256": rotary.table_hash(config.rope, config.head_dim)},
        "parameters": parameter_count(config),
        "dtypes": dict(Counter(checkpoint.dtype_of(name) for name in checkpoint.names)),
        "adapter": None
        if adapter is None
        else {"rank": adapter.rank, "alpha": adapter.alpha, "scale": adapter.scale, "parameters": adapter.parameters},
        **({} if head is None else {"draft_head": {**drafter, "parameters": head.parameters}}),
        "quantization": quantization_facts(checkpoint),
        "files": files,
    }


def quantization_facts(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """Describe the quantization, with the number of layers by format. Returns None for high precision."""
    quantization = checkpoint.quantization
    if quantization is None:
        return None
    formats = Counter(json.dumps(found.to_dict(), sort_keys=True) for found in checkpoint.formats.values())
    return {
        "algorithm": quantization.algorithm,
        "formats": [{**json.loads(text), "layers": count} for text, count in formats.items()],
        "excluded": list(quantization.excluded),
        "head": HEAD_MODULE in checkpoint.formats,
        "kv_cache": checkpoint.kv_cache,
        "producer": quantization.producer,
    }


def _source(folder: Path) -> dict[str, str]:
    """Name the source of a checkpoint. Paths are left out: they describe the machine and not the model."""
    snapshot = HubSnapshot.around(folder)
    if snapshot is None:
        return {"folder": folder.resolve().name}
    return {"folder": folder.resolve().name, "repository": snapshot.repository, "revision": snapshot.revision}


def _identity(checkpoint: Checkpoint, files: dict[str, dict[str, Any]]) -> str:
    """Hash what a checkpoint computes: config, weights and adapter. Sharding and other files make no difference."""
    adapter = checkpoint.adapter
    parts = {
        "config": checkpoint.config.to_dict(),
        "weights": files["model.safetensors"]["sha256"],
        "adapter": adapter and [adapter.scale, files[f"{ADAPTER_FOLDER}/{WEIGHTS_FILE}"]["sha256"]],
    }
    if checkpoint.draft_head is not None:
        parts["draft_head"] = files[f"{DRAFT_FOLDER}/{HEAD_WEIGHTS_FILE}"]["sha256"]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

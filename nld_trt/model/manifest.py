# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``checkpoint.json``: the description of a converted checkpoint, and hashes by which changes are detected."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nld_trt
from nld_trt.errors import InputError
from nld_trt.files import HubSnapshot, inside, read_json, sha256_of
from nld_trt.model import rotary
from nld_trt.model.adapter import ADAPTER_FOLDER, WEIGHTS_FILE
from nld_trt.model.inventory import HEAD, parameter_count

if TYPE_CHECKING:
    from nld_trt.model.checkpoint import Checkpoint

MANIFEST_FILE = "checkpoint.json"
SCHEMA_VERSION = 1


def describe(checkpoint: Checkpoint, folder: Path) -> dict[str, Any]:
    """Make the manifest of ``folder``, whose files were made from ``checkpoint``. Reads and hashes every file."""
    config, adapter = checkpoint.config, checkpoint.adapter
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    geometry = config.to_dict()
    rope = geometry.pop("rope")
    tokens = {name: geometry.pop(name) for name in list(geometry) if name.endswith("_token_id")}
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "nld-trt", "version": nld_trt.__version__},
        "source": _source(checkpoint.folder),
        "notes": list(checkpoint.notes),
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
        "head": HEAD.removesuffix(".weight") in checkpoint.formats,
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
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read the manifest of ``folder``. Returns None when there is none.

    Raises:
        InputError: the manifest is not valid, or has another version.
    """
    path = inside(folder, MANIFEST_FILE)
    if not path.is_file():
        return None
    manifest = read_json(path)
    again = f"Convert the released checkpoint again: nld-trt convert CHECKPOINT -o {folder} --force"
    found = manifest.get("schema_version")
    if found != SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {found!r}; nld-trt {nld_trt.__version__} reads version {SCHEMA_VERSION}",
            fix=again,
        )
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(
        isinstance(entry, dict) and {"bytes", "sha256"} <= entry.keys() for entry in files.values()
    ):
        raise InputError(f"{path} lists no files with sizes and hashes", fix=again)
    return manifest


def check_files(folder: Path, manifest: dict[str, Any], *, verify: bool) -> None:
    """Compare the files of ``folder`` with its manifest: sizes always, hashes with ``verify``.

    Raises:
        InputError: files are missing or different. All of them are listed.
    """
    problems = []
    for name, entry in manifest["files"].items():
        path = inside(folder, name)
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif path.stat().st_size != entry["bytes"]:
            problems.append(f"{name} has {path.stat().st_size} bytes; {entry['bytes']} were written")
        elif verify and sha256_of(path) != entry["sha256"]:
            problems.append(f"{name} has another SHA-256 than when it was written")
    if problems:
        raise InputError(
            f"{folder} has changed since it was converted",
            details=problems,
            fix=f"Convert the released checkpoint again: nld-trt convert CHECKPOINT -o {folder} --force",
        )

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt inspect``: what a folder is, and whether it is intact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from nld_trt.cli._options import path_argument
from nld_trt.cli._output import json_option, output
from nld_trt.errors import InputError


@click.command("inspect")
@path_argument
@json_option
def command(path: Path) -> None:
    """Say what PATH is: a checkpoint, a converted checkpoint, an engine or a Triton model repository.

    Everything is verified on the way: tensor inventory, shapes, file hashes, and the scales and weights of a
    quantized checkpoint.

    \b
    Example:
      nld-trt inspect engine
    """
    if not path.is_dir():
        raise InputError(f"{path} is not a folder")
    for is_kind, describe in KINDS:
        if is_kind(path):
            facts = describe(path)
            output.result(facts, "\n".join(_lines(facts)))
            return
    raise InputError(
        f"{path} is neither a checkpoint, an engine nor a model repository",
        details=[f"it holds: {', '.join(sorted(entry.name for entry in path.iterdir())[:12]) or 'nothing'}"],
        fix="Pass a folder with config.json (checkpoint), engine.json (engine) or MODEL/config.pbtxt (repository).",
    )


def _engine(path: Path) -> dict[str, Any]:
    from nld_trt.engine.folder import EngineFolder

    manifest = EngineFolder.open(path).manifest
    return {
        "kind": "engine",
        "model": dict(manifest.model),
        "built": f"{manifest.created} by nld-trt {manifest.tool_version}",
        "limits": manifest.limits.to_dict(),
        "eos_token_id": list(manifest.config.eos_token_ids),
        "generation": manifest.generation.to_dict(),
        "draft_adapter": manifest.has_adapter,
        "debug_outputs": manifest.debug,
        "backends": {
            name: {
                "precision": artefact.precision,
                "compute_capabilities": list(artefact.compute_capabilities),
                "tools": dict(artefact.tools),
                "proof": dict(artefact.proof),
            }
            for name, artefact in manifest.backends.items()
        },
        "bytes": sum(record.size for record in manifest.files.values()),
        "intact": True,
    }


def _checkpoint(path: Path) -> dict[str, Any]:
    from nld_trt.model import rotary
    from nld_trt.model.checkpoint import Checkpoint
    from nld_trt.model.description import quantization_facts
    from nld_trt.model.inventory import parameter_count
    from nld_trt.model.manifest import MANIFEST_FILE
    from nld_trt.model.quantized.audit import audit

    converted = (path / MANIFEST_FILE).is_file()
    checkpoint = Checkpoint.open_converted(path, verify=True) if converted else Checkpoint.open(path)
    config = checkpoint.config
    adapter = checkpoint.adapter
    quantization = None
    if checkpoint.quantization is not None:
        found = audit(checkpoint)
        found.require()
        quantization = {**(quantization_facts(checkpoint) or {}), **found.to_dict()}
    kind = "converted checkpoint" if converted else "release checkpoint"
    return {
        "kind": f"quantized {kind}" if quantization else kind,
        "parameters": parameter_count(config),
        "tensors": len(checkpoint.names),
        "weight_bytes": checkpoint.weight_bytes,
        "config": config.to_dict(),
        "generation": checkpoint.generation.to_dict(),
        "rotary_table_sha256": rotary.table_hash(config.rope, config.head_dim),
        "quantization": quantization,
        "draft_adapter": None if adapter is None else {"rank": adapter.rank, "scale": adapter.scale},
        "companions": [companion.relative_to(path).as_posix() for companion in checkpoint.companions()],
        "notes": list(checkpoint.notes),
        "next": "nld-trt build" if converted else "nld-trt convert",
    }


def _repository(path: Path) -> dict[str, Any]:
    from nld_trt.serving.triton.repository import describe_repository

    return describe_repository(path)


# Asked in this order: an engine folder also holds a checkpoint's tokenizer and generation settings.
KINDS: tuple[tuple[Callable[[Path], bool], Callable[[Path], dict[str, Any]]], ...] = (
    (lambda path: (path / "engine.json").is_file(), _engine),
    (lambda path: (path / "config.json").is_file(), _checkpoint),
    (lambda path: any(path.glob("*/config.pbtxt")), _repository),
)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {_text(part)}" for name, part in value.items())
    return ", ".join(map(_text, value)) if isinstance(value, (list, tuple)) else str(value)


def _lines(facts: dict[str, Any], indent: str = "") -> list[str]:
    """Nested facts as indented ``name: value`` lines."""
    from nld_trt.files import human_bytes

    lines = []
    for name, value in facts.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{name}:", *_lines(value, indent + "  ")]
        else:
            size = f" ({human_bytes(value)})" if name.endswith("bytes") and isinstance(value, int) else ""
            lines.append(f"{indent}{name}: {_text(value)}{size}")
    return lines

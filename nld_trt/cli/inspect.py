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
    from nld_trt.files.unfinished import unfinished

    if not path.is_dir():
        raise InputError(f"{path} is not a folder")
    work = unfinished(path)
    if work is not None:
        raise InputError(
            f"{path} is {work}, and is not complete",
            fix="Run that command again if it was interrupted, with the same -o.",
        )
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

    return EngineFolder.open(path).describe()


def _checkpoint(path: Path) -> dict[str, Any]:
    from nld_trt.model.inspection import describe_checkpoint

    return describe_checkpoint(path)


def _repository(path: Path) -> dict[str, Any]:
    from nld_trt.serving.triton.repository import describe_repository

    return describe_repository(path)


# The first kind that fits counts: an engine folder also has a checkpoint's tokenizer and generation settings.
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
    """Return nested facts as indented ``name: value`` lines."""
    from nld_trt.files import human_bytes

    lines = []
    for name, value in facts.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{name}:", *_lines(value, indent + "  ")]
        else:
            size = f" ({human_bytes(value)})" if name.endswith("bytes") and isinstance(value, int) else ""
            lines.append(f"{indent}{name}: {_text(value)}{size}")
    return lines

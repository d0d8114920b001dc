# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``checkpoint.json``: the description of a converted checkpoint, and hashes by which changes are detected."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import nld_trt
from nld_trt.errors import InputError
from nld_trt.files import inside, read_json, sha256_of

MANIFEST_FILE = "checkpoint.json"
SCHEMA_VERSION = 1


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read the manifest of ``folder``. Returns None when there is none.

    Raises:
        InputError: the manifest is not valid, or has another version.
    """
    path = inside(folder, MANIFEST_FILE)
    if not path.is_file():
        return None
    manifest = read_json(path)
    again = _again(folder)
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
            fix=_again(folder),
        )


def _again(folder: Path) -> str:
    return f"Convert the released checkpoint again: nld-trt convert CHECKPOINT -o {shlex.quote(str(folder))} --force"

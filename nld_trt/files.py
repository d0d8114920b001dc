# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Files and folders: hashes, JSON, paths that stay where they belong, folders that appear complete or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nld_trt.errors import InputError, OperationError

_CHUNK_BYTES = 8 << 20
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def human_bytes(size: int) -> str:
    """Decimal units, as disks and model cards state sizes: ``17.0 GB``."""
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        InputError: the file is missing, unreadable, not JSON, or not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}", fix=_REFETCH) from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{path} is not valid JSON: {error.msg} at {place}", fix=_REFETCH) from error
    except ValueError as error:  # a whole number of more digits than Python reads
        raise InputError(f"{path} is not JSON that can be read: {error}", fix=_REFETCH) from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds a JSON {type(value).__name__}; an object was expected", fix=_REFETCH)
    return value


_REFETCH = "Restore the file from its source: an interrupted download or an edit can leave it like this."


def write_json(path: Path, value: Any) -> None:
    """Indented, in the given key order, with a final newline."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class HubSnapshot:
    """Where a folder sits in a Hugging Face cache: ``models--OWNER--NAME/snapshots/REVISION``."""

    cache: Path
    revision: str

    @property
    def repository(self) -> str:
        return self.cache.name.removeprefix("models--").replace("--", "/")

    @property
    def blobs(self) -> Path:
        return self.cache / "blobs"

    def stores(self, path: Path) -> bool:
        """Whether ``path``, without links, is where this cache keeps a file of the repository.

        That is in the repository's blobs, or in those that repositories of one cache share: ``blobs/01/0123...``.
        """
        return path.parent == self.blobs or path.parent.parent == self.cache.parent / "blobs"

    @classmethod
    def around(cls, folder: Path) -> HubSnapshot | None:
        """The snapshot that ``folder`` is or lies in, or None."""
        folder = folder.resolve()
        for path in (folder, *folder.parents):
            if path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--"):
                return cls(path.parent.parent, path.name)
        return None


def inside(folder: Path, relative: str | Path) -> Path:
    """``folder / relative``, which need not exist, after checking that it does not lead out of ``folder``.

    Links are followed. A link from a Hugging Face snapshot to the blobs of the same repository is how
    that cache stores every file, so it counts as inside; no other escape does.

    Raises:
        InputError: an absolute path, a ``..``, or a link to somewhere else.
    """
    try:
        if Path(relative).is_absolute() or ".." in Path(relative).parts:
            raise InputError(f"{str(relative)!r} is not a path inside {folder}")
        resolved = (folder / relative).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{str(relative)!r} in {folder} cannot be followed: {error}") from error
    if not resolved.is_relative_to(folder.resolve()):
        snapshot = HubSnapshot.around(folder)
        if snapshot is None or not snapshot.stores(resolved):
            raise InputError(
                f"{folder / relative} is a link that leaves its folder, to {resolved}",
                fix="Replace the link by a copy of the file.",
            )
    return folder / relative


@contextmanager
def publish_folder(
    target: Path, force: bool = False, *, needs_bytes: int = 0, marker: str | None = None
) -> Iterator[Path]:
    """Yield an empty folder that becomes ``target`` when the body succeeds and vanishes when it does not.

    The folder is made beside ``target`` so that the last step is one rename. A mount point cannot be
    renamed over: there the folder is made inside it and its contents move up.

    Args:
        target: may be missing or an empty folder; missing parents are created.
        force: replace what is there.
        needs_bytes: free space to ask for before any work.
        marker: with ``force``, only a folder that holds a file of this name is replaced, so that a
            mistyped output folder does not cost somebody's files.

    Raises:
        InputError: ``target`` is taken or cannot be created.
        OperationError: the disk is too small, or became full.
    """
    target = target.resolve()
    check_target(target, force, marker)
    mounted = target.is_dir() and target.is_mount()
    home = target if mounted else target.parent
    work = home / f".{target.name}.partial-{secrets.token_hex(4)}"
    made: list[Path] = []
    try:
        _make_folder(work, made)
        check_space(home, needs_bytes)
        yield work
        _move_into(work, target) if mounted else _rename_over(work, target)
    except BaseException as error:
        shutil.rmtree(work, ignore_errors=True)
        for parent in reversed(made):
            with suppress(OSError):
                parent.rmdir()
        if isinstance(error, OSError) and disk_is_full(error):
            raise OperationError(
                f"The disk that holds {home} is full; nothing was written to {target}",
                fix="Free some space or choose an output folder on another disk with -o.",
            ) from error
        raise


def check_target(target: Path, force: bool, marker: str | None = None) -> None:
    """Whether :func:`publish_folder` would accept this target; for refusing before long work.

    Raises:
        InputError: it is taken.
    """
    target, other = target.resolve(), "Choose another output folder with -o."
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file; an output folder was expected", fix=other)
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not force:
        fix = "Pass --force to replace it, or choose another output folder with -o."
        raise InputError(f"The output folder {target} exists and is not empty", fix=fix)
    if any(place.is_relative_to(target) for place in (Path.cwd(), Path.home())):
        raise InputError(f"--force does not replace {target}: your working or home folder is in it", fix=other)
    if marker is not None and not (target / marker).is_file():
        raise InputError(f"--force does not replace {target}: it holds other files and no {marker}", fix=other)


def _make_folder(work: Path, made: list[Path]) -> None:
    """Create ``work``; ``made`` receives the parents that had to be created, outermost first."""
    try:
        for parent in reversed(work.parents):
            if not parent.exists():
                parent.mkdir()
                made.append(parent)
        work.mkdir()
    except OSError as error:
        if disk_is_full(error):
            raise
        raise InputError(
            f"Cannot create a folder in {work.parent}: {error.strerror}", fix="Choose another output folder with -o."
        ) from error


def disk_is_full(error: OSError) -> bool:
    return error.errno in _DISK_FULL


def check_space(home: Path, needs_bytes: int) -> None:
    """Raises OperationError when the disk of ``home``, or of its first parent that exists, has less free space."""
    while not home.exists():
        home = home.parent
    free = shutil.disk_usage(home).free
    if free < needs_bytes:
        raise OperationError(
            f"{human_bytes(needs_bytes)} are needed in {home} and {human_bytes(free)} are free",
            fix="Free some space or choose an output folder on another disk with -o.",
        )


def _rename_over(work: Path, target: Path) -> None:
    if not target.exists() or not any(target.iterdir()):
        os.rename(work, target)
        return
    old = target.with_name(f".{target.name}.old-{secrets.token_hex(4)}")
    os.rename(target, old)
    try:
        os.rename(work, target)
    except BaseException:
        os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _move_into(work: Path, target: Path) -> None:
    for entry in target.iterdir():
        if entry != work:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    for entry in work.iterdir():
        os.rename(entry, target / entry.name)
    work.rmdir()


@contextmanager
def publish_file(target: Path) -> Iterator[Path]:
    """Yield a temporary sibling that replaces ``target`` when the body succeeds and vanishes when it does not.

    Raises:
        InputError: the folder of ``target`` does not exist, or ``target`` is a folder.
        OperationError: the disk became full.
    """
    if target.is_dir() or not target.parent.is_dir():
        what = "is a folder" if target.is_dir() else "lies in a folder that does not exist"
        raise InputError(f"The output file {target} {what}", fix="Choose another output file.")
    work = target.with_name(f".{target.name}.partial-{secrets.token_hex(4)}")
    try:
        yield work
        os.replace(work, target)
    except OSError as error:
        if disk_is_full(error):
            raise OperationError(f"The disk that holds {target.parent} is full; {target} was not written") from error
        raise
    finally:
        work.unlink(missing_ok=True)

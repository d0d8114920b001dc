# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Output folders that appear complete or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nld_trt import interrupts
from nld_trt.errors import InputError, OperationError
from nld_trt.files.disk import check_space, disk_is_full
from nld_trt.files.lock import OLD, PARTIAL, OutputLock, is_ours, locked, refuse_locked, remove
from nld_trt.files.paths import is_mount_point, own_folders, resolved

_OTHER = "Choose another output folder with -o."


@contextmanager
def publish_folder(
    target: Path,
    force: bool = False,
    *,
    needs_bytes: int = 0,
    marker: str | None = None,
    lock: OutputLock | None = None,
) -> Iterator[Path]:
    """Yield an empty folder that becomes ``target`` when the body succeeds and vanishes when it does not.

    The folder is created beside ``target``, so that the last step is one rename. A mount point cannot be replaced by a
    rename, nor can a folder whose parent cannot be written; in these cases the folder is created inside ``target`` and
    its contents are moved up.

    Args:
        target: may be missing or an empty folder; missing parents are created. Its permissions are kept.
        force: replace an existing folder.
        needs_bytes: free space that is required before any work.
        marker: with ``force``, only a folder with a file of this name is replaced, so that a mistyped output folder
            does not delete other files.
        lock: the lock of ``target``, where the caller holds it already.

    Raises:
        InputError: ``target`` is taken, is being written by another process, or cannot be created.
        OperationError: the disk has too little space, or became full.
    """
    target = resolved(target)
    _refuse_taken(target, force, marker)
    if lock is not None:
        with _publishing(target, force, needs_bytes, marker, lock) as work:
            yield work
        return
    with locked_folder(target) as lock, _publishing(target, force, needs_bytes, marker, lock) as work:
        yield work


@contextmanager
def locked_folder(target: Path, *, keep_parents: bool = False) -> Iterator[OutputLock]:
    """Hold the lock of the folder ``target``. Its missing parents are created, and removed again if the body fails.

    Args:
        keep_parents: keep the parents even if the body fails.

    Raises:
        InputError: another process writes the folder, or nothing can be written there.
        OperationError: the disk is full.
    """
    target = resolved(target)
    home, made = _home(target), []
    try:
        try:
            made = _make_folders(home)
            claim = locked(target, home)
            lock = claim.__enter__()
        except OSError as error:
            raise _refusal(target, home, error) from error
        # A with statement would also treat an OSError of the body as a refusal of the lock.
        try:
            yield lock
        finally:
            claim.__exit__(None, None, None)
    except BaseException:
        for parent in () if keep_parents else reversed(made):
            with suppress(OSError):
                parent.rmdir()
        raise


@contextmanager
def _publishing(target: Path, force: bool, needs_bytes: int, marker: str | None, lock: OutputLock) -> Iterator[Path]:
    _refuse_taken(target, force, marker)  # again, because another process may have written it since
    home = lock.path.parent
    work = lock.sibling(PARTIAL)
    try:
        work.mkdir()
        check_space(home, needs_bytes)
        yield work
        with interrupts.held():
            if home == target:
                _move_into(work, target, marker)
            else:
                _rename_over(work, target, lock)
    except BaseException as error:
        with interrupts.held():
            remove(work)
        if isinstance(error, OSError) and disk_is_full(error):
            raise _full(target, home) from error
        raise


@contextmanager
def results_folder(target: Path, *, marker: str, kind: str) -> Iterator[Path]:
    """Create the folder ``target``, or reuse one that has a file ``marker``, and hold its lock.

    Unlike :func:`publish_folder`, this keeps the files that were written when the body fails, and removes an empty
    folder.

    Args:
        kind: the kind of folder, for a message.

    Raises:
        InputError: ``target`` holds something else, is being written by another process, or cannot be written.
        OperationError: the disk is full.
    """
    target = resolved(target)
    refuse_other_results(target, marker, kind)
    with locked_folder(target) as lock:
        new = not target.exists()
        try:
            target.mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=target):
                pass
        except OSError as error:
            raise _refusal(target, target, error) from error
        try:
            yield target
        except BaseException:
            if new and lock.path.parent != target:
                with suppress(OSError):
                    target.rmdir()
            raise


def refuse_other_results(target: Path, marker: str, kind: str) -> None:
    """Raises InputError when ``target`` is a file, or a folder with something in it and no file ``marker``."""
    target = resolved(target)
    if target.is_dir():
        occupied = bool(_content(target)) and not (target / marker).is_file()
    else:
        occupied = target.exists()
    if occupied:
        raise InputError(f"{target} exists and is not a {kind} folder: it has no {marker}", fix=_OTHER)


def check_target(target: Path, force: bool, marker: str | None = None) -> None:
    """Refuse, before long work, a target that :func:`publish_folder` would not accept.

    Raises:
        InputError: the target is taken, is being written by another process, or cannot be written.
    """
    target = resolved(target)
    _refuse_taken(target, force, marker)
    home = _home(target)
    refuse_locked(target, home)
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".nld-trt-", dir=existing):
            pass
    except OSError as error:
        raise _refusal(target, existing, error) from error


def _refuse_taken(target: Path, force: bool, marker: str | None) -> None:
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file; an output folder was expected", fix=_OTHER)
    if not target.is_dir() or not _content(target):
        return
    if not force:
        fix = "Pass --force to replace it, or choose another output folder with -o."
        raise InputError(f"The output folder {target} exists and is not empty", fix=fix)
    if any(place.is_relative_to(target) for place in own_folders()):
        raise InputError(f"--force does not replace {target}: your working or home folder is in it", fix=_OTHER)
    if marker is not None and not (target / marker).is_file():
        raise InputError(f"--force does not replace {target}: it holds other files and no {marker}", fix=_OTHER)


def _content(target: Path) -> list[Path]:
    """Returns the entries of a folder, without lock files and unfinished work."""
    try:
        return [entry for entry in target.iterdir() if not is_ours(entry.name, target)]
    except OSError as error:
        raise InputError(f"Cannot read the folder {target}: {error.strerror}", fix=_OTHER) from error


def _home(target: Path) -> Path:
    """Returns the folder for unfinished work: the parent of ``target``, or ``target`` if the parent cannot be used."""
    if target.is_dir() and (is_mount_point(target) or not os.access(target.parent, os.W_OK | os.X_OK)):
        return target
    return target.parent


def _make_folders(folder: Path) -> list[Path]:
    """Create ``folder``. Returns the folders that had to be created, outermost first, and removes them if it fails."""
    made: list[Path] = []
    try:
        for parent in reversed((folder, *folder.parents)):
            if not parent.exists():
                parent.mkdir()
                made.append(parent)
    except BaseException:
        for parent in reversed(made):
            parent.rmdir()
        raise
    return made


def _refusal(target: Path, home: Path, error: OSError) -> InputError | OperationError:
    if disk_is_full(error):
        return _full(target, home)
    return InputError(f"Cannot create a folder in {home}: {error.strerror}", fix=_OTHER)


def _full(target: Path, home: Path) -> OperationError:
    return OperationError(
        f"The disk that holds {home} is full; nothing was written to {target}",
        fix="Free some space or choose an output folder on another disk with -o.",
    )


def _rename_over(work: Path, target: Path, lock: OutputLock) -> None:
    if target.exists():
        _keep_permissions(work, target)
    if not target.exists() or not any(target.iterdir()):
        os.rename(work, target)
        return
    old = lock.sibling(OLD)
    os.rename(target, old)
    try:
        os.rename(work, target)
    except BaseException:
        os.rename(old, target)
        raise
    remove(old)


def _keep_permissions(work: Path, target: Path) -> None:
    found = target.stat()
    # Only root may change an owner. For other users the folder is theirs already, or becomes theirs.
    with suppress(OSError):
        os.chown(work, found.st_uid, found.st_gid)
    shutil.copymode(target, work)


def _move_into(work: Path, target: Path, marker: str | None) -> None:
    """Move the contents of ``work`` to ``target``. The old marker is removed last and the new one is moved last.

    A folder whose move was interrupted then never looks like a complete result."""
    last = None if marker is None else Path(marker).parts[0]
    for entry in sorted(_content(target), key=lambda entry: entry.name == last):
        remove(entry)
    for entry in sorted(work.iterdir(), key=lambda entry: entry.name == last):
        os.rename(entry, target / entry.name)
    work.rmdir()

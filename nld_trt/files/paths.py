# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Paths: resolves them, and checks that they stay inside a folder."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nld_trt.errors import InputError
from nld_trt.files.json_text import is_unicode


@dataclass(frozen=True)
class HubSnapshot:
    """A snapshot in a Hugging Face cache: ``models--OWNER--NAME/snapshots/REVISION``."""

    cache: Path
    revision: str

    @property
    def repository(self) -> str:
        return self.cache.name.removeprefix("models--").replace("--", "/")

    @property
    def blobs(self) -> Path:
        return self.cache / "blobs"

    def stores(self, path: Path) -> bool:
        """Whether ``path``, which is resolved, is a place where this cache keeps files of the repository.

        Files are in the repository's blobs, or in blobs that the repositories of a cache share: ``blobs/01/0123...``.
        """
        return path.parent == self.blobs or path.parent.parent == self.cache.parent / "blobs"

    @classmethod
    def around(cls, folder: Path) -> HubSnapshot | None:
        """Returns the snapshot that ``folder`` is or is part of, or None."""
        folder = folder.resolve()
        for path in (folder, *folder.parents):
            if path.parent.name == "snapshots" and _is_cache(path.parent.parent):
                return cls(path.parent.parent, path.name)
        return None

    @classmethod
    def holds(cls, path: Path, folder: Path) -> bool:
        """Whether a link in ``folder`` may lead to ``path``, which is resolved: a file or folder of a cache.

        A snapshot's files are in the blobs of its repository. Any other folder may consist of links into any cache, to
        blobs or to folders of a snapshot, such as an adapter's.
        """
        snapshot = cls.around(folder)
        if snapshot is not None:
            return snapshot.stores(path)
        is_blob = path.parent.name == "blobs" and _is_cache(path.parent.parent)
        store = path.parent.parent
        is_shared_blob = store.name == "blobs" and any(store.parent.glob("models--*"))
        return is_blob or is_shared_blob or cls.around(path) is not None


def _is_cache(folder: Path) -> bool:
    """Whether ``folder`` belongs to a repository in a Hugging Face cache, by its name or by its content.

    Where ``models--OWNER--NAME`` is a link to a larger disk, the folder there can have any name.
    """
    return folder.name.startswith("models--") or all(
        (folder / part).is_dir() for part in ("blobs", "refs", "snapshots")
    )


def inside(folder: Path, relative: str | Path) -> Path:
    """Returns ``folder / relative``, which need not exist, after checking that it does not lead out of ``folder``.

    Links are followed. A path that :meth:`HubSnapshot.holds` accepts counts as inside, because a Hugging Face cache
    consists of links; any other path outside is refused.

    Raises:
        InputError: the path is absolute, has a ``..``, or is a link that leaves ``folder``.
    """
    try:
        if Path(relative).is_absolute() or ".." in Path(relative).parts:
            raise InputError(f"{str(relative)!r} is not a path inside {folder}")
        resolved = (folder / relative).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{str(relative)!r} in {folder} cannot be followed: {error}") from error
    if not resolved.is_relative_to(folder.resolve()) and not HubSnapshot.holds(resolved, folder):
        raise InputError(
            f"{folder / relative} is a link that leaves its folder, to {resolved}",
            fix="Replace the link by a copy of the file. Links into a Hugging Face cache, to "
            "models--OWNER--NAME/blobs, need no copy.",
        )
    return folder / relative


def resolved(path: Path) -> Path:
    """Returns ``path``, which need not exist, as an absolute path with links followed.

    Raises:
        InputError: links form a circle, or the path is relative and the working folder was deleted.
    """
    try:
        return path.resolve()
    except FileNotFoundError as error:  # the working folder is missing; path itself may be
        raise InputError(
            f"{path} is relative to the working folder, which was deleted", fix="Change to a folder that exists."
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{path} cannot be followed: {reason}") from error


def is_mount_point(folder: Path) -> bool:
    """Whether ``folder``, absolute and with links followed, is a mount point.

    ``Path.is_mount`` compares devices, so it does not recognise a bind mount of a folder on the same disk.
    """
    if folder.is_mount():
        return True
    try:
        table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return False
    return any(_unescaped(line.split(" ")[4]) == str(folder) for line in table.splitlines())


def _unescaped(text: str) -> str:
    """Decode a path of the kernel's mount table, which writes spaces and backslashes as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def own_folders() -> list[Path]:
    """Returns the user's working and home folders, as far as they exist: a container's user may have neither."""
    found = []
    for find in (Path.cwd, Path.home):
        # RuntimeError: HOME is not set and no user has this number.
        with suppress(OSError, RuntimeError):
            found.append(find().resolve())
    return found


def library_path(path: Path) -> str:
    """Returns ``path`` as text for a library that encodes paths as UTF-8, whatever encoding Python uses for them.

    In Triton's Python backend, Python uses ASCII under every locale. :func:`path_of_library` is the inverse.
    """
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def opened_path(path: Path) -> str:
    """Returns :func:`library_path` for a library that opens files there, which requires that the path is valid text.

    Raises:
        InputError: it has bytes that are not UTF-8.
    """
    text = library_path(path)
    if not is_unicode(text):
        raise InputError(
            f"the path {path} has bytes that are not UTF-8, and the engine's library cannot open files there",
            fix="Rename the folder, or choose another.",
        )
    return text


def path_of_library(text: str) -> Path:
    """Returns the path that a library gave as text. It is the inverse of :func:`library_path`."""
    return Path(os.fsdecode(text.encode("utf-8", "surrogateescape")))

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Paths that reach a Python model whole: Triton starts its process with ``bash -c`` and puts no quotes around them."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from nld_trt.errors import InputError

PREFIX = "nld-trt-serve-"
# Where a temporary folder may be when the usual one has a path that a shell would take apart.
_OTHER_PLACES = ("/tmp", "/var/tmp", "/dev/shm")


def is_plain(path: Path) -> bool:
    """Whether a shell leaves ``path`` alone, and every part of the server can decode it: it is ASCII."""
    return re.fullmatch(r"[A-Za-z0-9_./+-]+", str(path)) is not None


def temporary_places() -> list[str]:
    """Folders that may hold a server's temporary files, the usual one first.

    Raises:
        OSError: there is no usual one.
    """
    return list(dict.fromkeys((tempfile.gettempdir(), *_OTHER_PLACES)))


def make_work_folder() -> Path:
    """A new folder with a plain path, in the folder for temporary files if that has one.

    Raises:
        InputError: no folder for temporary files has a plain path and can be written.
    """
    tried = temporary_places()
    for place in tried:
        if not is_plain(Path(place)):
            continue
        try:
            return Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        except OSError:
            continue
    raise InputError(
        "there is no folder for the server's temporary files whose path has only ASCII letters, digits and _ . + -, "
        "which is what Triton can start a Python model from",
        details=[f"looked at {place!r}" for place in tried],
        fix="Set TMPDIR to such a folder, one that can be written.",
    )


def plain_path(folder: Path, link: Path) -> Path:
    """``folder`` itself, resolved, or ``link`` made to point to it where its path is not plain."""
    folder = folder.resolve()
    if is_plain(folder):
        return folder
    link.symlink_to(folder)
    return link

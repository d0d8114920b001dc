# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Paths for Python models, which must be plain: Triton starts a model with ``bash -c`` and does not quote paths."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from nld_trt.errors import InputError

PREFIX = "nld-trt-serve-"
# Folders for temporary files where the usual one has a path that a shell would split or expand.
_OTHER_PLACES = ("/tmp", "/var/tmp", "/dev/shm")


def is_plain(path: Path) -> bool:
    """Whether ``path`` is ASCII without characters that a shell treats specially."""
    return re.fullmatch(r"[A-Za-z0-9_./+-]+", str(path)) is not None


def temporary_places() -> list[str]:
    """List the folders that may hold a server's temporary files, the usual one first.

    Raises:
        OSError: there is no usual one that can be written.
    """
    return list(dict.fromkeys((tempfile.gettempdir(), *_OTHER_PLACES)))


def make_work_folder() -> Path:
    """Create a folder with a plain path, in the usual folder for temporary files if its path is plain.

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
    """Returns ``folder``, resolved, if its path is plain. Otherwise makes ``link`` a link to it and returns that."""
    folder = folder.resolve()
    if is_plain(folder):
        return folder
    link.symlink_to(folder)
    return link

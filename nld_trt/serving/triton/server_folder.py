# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The temporary folder of a running server, which is removed when the server ends, or else by the next server."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nld_trt.errors import InputError
from nld_trt.serving.triton.workplace import PREFIX, make_work_folder, temporary_places

log = logging.getLogger(__name__)

# A folder that is younger than this may not yet be locked by the process that created it.
_YOUNG_SECONDS = 60


@contextmanager
def server_folder() -> Iterator[Path]:
    """Yield a new folder, whose name is also the prefix of the server's shared memory. Both are removed afterwards.

    The folder is locked until this process ends. Unlocked folders of this user were left by processes that were killed,
    and are removed first.

    Raises:
        InputError: there is no folder for temporary files, or none with a plain path.
    """
    try:
        places = temporary_places()
    except OSError as error:
        raise no_temporary_folder(error) from error
    for place in places:
        _remove_abandoned(Path(place))
    folder = make_work_folder()
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _is_free(descriptor)
        yield folder
    finally:
        _remove(folder)
        os.close(descriptor)


def no_temporary_folder(error: OSError) -> InputError:
    return InputError(
        f"a server needs a folder for temporary files, and none can be written: {error.strerror}",
        fix="Name one in the environment: TMPDIR=/a/folder nld-trt serve REPO_DIR",
    )


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*/"):
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            found = os.fstat(descriptor)
            ours_and_old = found.st_uid == os.geteuid() and time.time() - found.st_mtime > _YOUNG_SECONDS
            if ours_and_old and _is_free(descriptor):
                _remove(folder)
                log.warning("removed %s, left by a server whose process was killed", folder)
        finally:
            os.close(descriptor)


def _is_free(descriptor: int) -> bool:
    """Lock a folder if no process holds it. Returns False where one does, or the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    # Shared memory is left only by a server that was killed.
    for region in Path("/dev/shm").glob(f"{folder.name}*"):
        region.unlink(missing_ok=True)

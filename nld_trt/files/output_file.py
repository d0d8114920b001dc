# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Output files that appear complete or not at all, and devices, pipes and links that are given in their place.

A regular file is written under a temporary name beside its place and renamed. A device, a pipe or an open descriptor
such as /dev/stdout is written directly. So is a file that cannot be replaced, because its folder cannot be written, it
is a mount point, or it belongs to another user. A target that is written directly is opened before the work and filled
after it, from memory.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from nld_trt import interrupts
from nld_trt.errors import InputError, OperationError
from nld_trt.files.disk import disk_is_full
from nld_trt.files.lock import PARTIAL, locked, remove
from nld_trt.files.paths import resolved

log = logging.getLogger(__name__)

_OTHER = "Choose another output file."
_CHUNK_BYTES = 1 << 20
# Errors of a rename after which the file may still be writable: it is a mount point, or in a folder like /tmp.
_IRREPLACEABLE = (errno.EBUSY, errno.EPERM, errno.EACCES, errno.EXDEV)


@contextmanager
def publish_file(target: Path) -> Iterator[Path]:
    """Yield a temporary file that becomes ``target`` when the body succeeds and vanishes when it does not.

    Links are followed. A file that is replaced keeps its permissions and owner. A named pipe is opened at once, so the
    body runs when a reader has opened it.

    Raises:
        InputError: ``target`` is a folder, is being written by another process, or cannot be written.
        OperationError: the disk became full, or a pipe's reader closed it.
    """
    place = resolved(target)
    with ExitStack() as stack:
        stream = _opened_stream(target)
        if stream is not None:
            stack.callback(os.close, stream)
            work = stack.enter_context(_scratch())
            yield work
            _pour(work, stream, target)
            return
        if place.is_dir() or not place.parent.is_dir():
            what = "is a folder" if place.is_dir() else "lies in a folder that does not exist"
            raise InputError(f"The output file {target} {what}", fix=_OTHER)
        if place.exists() and not os.access(place, os.W_OK):
            raise _refusal(target, "its permissions or its disk do not allow it")
        try:
            lock = stack.enter_context(locked(place, place.parent))
            work = lock.sibling(PARTIAL)
            os.close(os.open(work, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))
        except OSError as error:
            if disk_is_full(error):
                raise _full(target) from error
            if not place.is_file():
                raise _refusal(target, error.strerror) from error
            stream = _opened(place, target)
            stack.callback(os.close, stream)
            _lock_alone(stream, target)
            work = stack.enter_context(_scratch())
            yield work
            _pour(work, stream, target)
            return
        try:
            yield work
        except BaseException as error:
            with interrupts.held():
                remove(work)
            if isinstance(error, OSError) and disk_is_full(error):
                raise _full(target) from error
            raise
        with interrupts.held():
            _put_in_place(work, place, target)


def _put_in_place(work: Path, place: Path, target: Path) -> None:
    try:
        if place.exists() and not _keep_permissions(work, place):
            raise PermissionError(errno.EPERM, "its owner would change")
        os.replace(work, place)
        return
    except OSError as error:
        if error.errno not in _IRREPLACEABLE or not place.is_file():
            raise _lost(work, target, error) from error
    stream = _opened(place, target)
    try:
        _pour(work, stream, target)
    except OperationError as error:
        raise _lost(work, target, error) from error
    finally:
        os.close(stream)
    remove(work)


def _lost(work: Path, target: Path, error: Exception) -> OperationError:
    """Make the error for a complete output whose place cannot be written any more. The output is kept beside it."""
    kept = work.with_name(f"{target.name}.{work.name.rpartition('-')[2]}")
    with suppress(OSError):
        os.replace(work, kept)
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return OperationError(f"{target} cannot be written any more: {reason}", fix=f"The complete output is in {kept}.")


def _keep_permissions(work: Path, place: Path) -> bool:
    """Give ``work`` the owner and mode of ``place``. Returns whether that was possible."""
    old, new = place.stat(), work.stat()
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        try:
            os.chown(work, old.st_uid, old.st_gid)
        except OSError:
            return False
    shutil.copymode(place, work)
    return True


def _opened_stream(target: Path) -> int | None:
    """Open a target that can only be written directly. Returns None for files, folders and free names."""
    number = _own_descriptor(target)
    if number is not None:
        try:
            mode = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
            if mode == os.O_RDONLY:
                raise _refusal(target, "it is open for reading only")
            return os.dup(number)
        except OSError as error:
            raise _refusal(target, error.strerror) from error
    try:
        mode = target.stat().st_mode
    except OSError:
        return None
    return None if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else _opened(target, target)


def _own_descriptor(path: Path) -> int | None:
    """Returns the descriptor of this process that a path such as /dev/stdout, /dev/fd/3 or a link to one names."""
    folder = Path(f"/proc/{os.getpid()}/fd")
    for _ in range(40):  # the kernel's limit on links
        parent = resolved(path.parent)
        if parent == folder and path.name.isdecimal():
            return int(path.name)
        if not path.is_symlink():
            return None
        path = Path(parent, os.readlink(path))
    return None


def _opened(path: Path, target: Path) -> int:
    flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY
    try:
        if not path.is_fifo():
            return os.open(path, flags)
        try:
            descriptor = os.open(path, flags | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            log.warning("%s is a pipe: waiting for a process that reads from it", target)
            return os.open(path, flags)
        os.set_blocking(descriptor, True)
        return descriptor
    except OSError as error:
        raise _refusal(target, error.strerror) from error


def _lock_alone(stream: int, target: Path) -> None:
    """Lock an output file beside which no lock file can be created."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"{target} is being written by another process", fix="Wait until it has ended, or choose another file."
        ) from None
    except OSError:  # a file system without locks
        pass


@contextmanager
def _scratch() -> Iterator[Path]:
    """Yield a scratch file in memory, or in the temporary folder where the kernel has no files in memory."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("nld-trt", os.MFD_CLOEXEC)
        try:
            path = Path(f"/proc/self/fd/{descriptor}")
            if path.exists():
                yield path
                return
        finally:
            os.close(descriptor)
    with tempfile.NamedTemporaryFile(prefix="nld-trt-") as file:
        yield Path(file.name)


def _pour(work: Path, stream: int, target: Path) -> None:
    """Write the content of ``work`` to ``stream``. A file that was opened for this is emptied first."""
    try:
        for talk in (sys.stdout, sys.stderr):  # either may be the same pipe as the target
            if talk is not None:
                talk.flush()
        if stat.S_ISREG(os.fstat(stream).st_mode) and _own_descriptor(target) is None:
            os.ftruncate(stream, 0)
        with work.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                while chunk:
                    chunk = chunk[os.write(stream, chunk) :]
    except BrokenPipeError as error:
        raise OperationError(f"the reader of {target} closed it before all of it was written") from error
    except OSError as error:
        if disk_is_full(error):
            raise _full(target) from error
        raise OperationError(f"{target} cannot be written: {error.strerror}") from error


def _refusal(target: Path, reason: str | None) -> InputError:
    return InputError(f"The output file {target} cannot be written: {reason}", fix=_OTHER)


def _full(target: Path) -> OperationError:
    return OperationError(f"The disk that holds {target} is full; {target} was not written")

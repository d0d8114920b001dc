# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Locks that give every output one writer. A lock file beside the output names the process that writes it.

The kernel drops the lock when its process ends, however it ends. So a lock file that can be locked was left by a
process that was killed, and what its record lists can be removed.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nld_trt import interrupts
from nld_trt.errors import InputError
from nld_trt.files.holder import Holder
from nld_trt.files.records import human_bytes

log = logging.getLogger(__name__)

# Errors of file systems without locks. EBADF comes from NFS where a file is open for reading only.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)
_LONGEST_RECORD = 1 << 20
# A process creates its lock file and then writes its record. A reader that finds no record retries for a moment.
_RECORD_TRIES, _RECORD_PAUSE = 20, 0.05
OLD, PARTIAL = "old", "partial"
# The kind of folder that is kept when its command is interrupted, so that the next run can resume.
RESUMABLE = "quantizing"


class OutputLock:
    """The right to write one output, obtained from :func:`locked`.

    Attributes:
        path: the lock file.
        target: the output.
    """

    def __init__(self, path: Path, target: Path, descriptor: int) -> None:
        self.path = path
        self.target = target
        self._descriptor = descriptor
        self._holder = Holder.this_process()
        with suppress(PermissionError):  # a file of another user, which we can only read
            os.fchmod(descriptor, 0o644)
        self._write()

    def sibling(self, kind: str) -> Path:
        """Make a hidden name beside the lock file. If this process is killed, the next run removes it."""
        name = f".{self.target.name}.{kind}-{secrets.token_hex(4)}"
        self._holder = self._holder.with_leftover(name)
        self._write()
        return self.path.with_name(name)

    def release(self) -> None:
        # A record of files that could not be removed is kept, so that the next run tries again.
        left = [name for name in self._holder.leftovers if os.path.lexists(self.path.with_name(name))]
        if not left:
            with suppress(OSError):
                self.path.unlink()
        os.close(self._descriptor)

    def _write(self) -> None:
        record = self._holder.to_json().encode()
        os.pwrite(self._descriptor, record, 0)
        os.ftruncate(self._descriptor, len(record))


def lock_path(target: Path, home: Path) -> Path:
    return home / f".{target.name}.lock"


def is_ours(name: str, target: Path) -> bool:
    """Whether a name beside the lock file is the lock file's own or belongs to unfinished work on ``target``."""
    return name in (f".{target.name}.lock", f".{target.name}.{RESUMABLE}") or _is_unfinished(name, target)


def _is_unfinished(name: str, target: Path) -> bool:
    return name.startswith((f".{target.name}.{OLD}-", f".{target.name}.{PARTIAL}-"))


@contextmanager
def locked(target: Path, home: Path) -> Iterator[OutputLock]:
    """Hold the lock of ``target`` while the body runs. What a killed process left is removed first.

    Args:
        target: the output's absolute path, with links followed.
        home: an existing folder for the lock file and unfinished work, which is ``target`` or its parent.

    Raises:
        InputError: another process writes ``target``, or may do so from another machine.
        OSError: no file can be created in ``home``.
    """
    path = lock_path(target, home)
    with interrupts.held():
        lock = OutputLock(path, target, _acquire(path, target))
    try:
        yield lock
    finally:
        with interrupts.held():
            lock.release()


def refuse_locked(target: Path, home: Path) -> None:
    """Raises InputError when another process writes ``target`` now; changes nothing."""
    path = lock_path(target, home)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise InputError(
            f"{target} may be in use: its lock file {path} cannot be read: {error.strerror}",
            fix="Choose another output with -o, or remove that file if nothing writes there.",
        ) from error
    try:
        _refuse_held(descriptor, path, target)
    finally:
        os.close(descriptor)


def _acquire(path: Path, target: Path) -> int:
    """Open and lock the lock file. Returns its descriptor; the record in it is that of a killed process, or empty."""
    while True:
        descriptor = _open(path, target)
        try:
            ended = _refuse_held(descriptor, path, target)
            if not _is_at(descriptor, path):  # its holder has ended in between and removed the file
                os.close(descriptor)
                continue
            if ended is not None:
                _remove_leftovers(ended, path, target)
            _name_strangers(path, target)
            return descriptor
        except BaseException:
            os.close(descriptor)
            raise


def _open(path: Path, target: Path) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags | os.O_CREAT, 0o666)
    except PermissionError:
        # In a folder like /tmp another user's file cannot be opened for writing, but its record can be read.
        refuse_locked(target, path.parent)
        if not path.is_file():
            raise
        path.unlink()
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)


def _refuse_held(descriptor: int, path: Path, target: Path) -> Holder | None:
    """Lock the file, or raise InputError that names its holder. Returns the holder if that was killed."""
    free: bool | None = True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            free = None
        elif error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            free = False
        else:
            raise
    holder = _read(descriptor, patient=free is False)
    if holder is None and free is not False:
        return None
    if holder is not None and holder.has_ended(lock_is_free=free):
        return holder
    fix = "Wait until it has ended, or choose another output with -o."
    if holder is not None and not holder.is_here:
        made = " and ".join(str(path.with_name(name)) for name in (path.name, *holder.leftovers))
        fix += f" Whether it still runs cannot be seen from this machine: if it does not, remove {made}."
    raise InputError(
        f"{target} is being written by another process", details=holder.described() if holder else (), fix=fix
    )


def _read(descriptor: int, *, patient: bool) -> Holder | None:
    for _ in range(_RECORD_TRIES if patient else 1):
        found = Holder.from_json(os.pread(descriptor, _LONGEST_RECORD, 0).decode(errors="replace"))
        if found is not None or not patient:
            return found
        time.sleep(_RECORD_PAUSE)
    return None


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _remove_leftovers(ended: Holder, path: Path, target: Path) -> None:
    by = f"process {ended.pid} ({ended.command}), which was killed"
    for name in ended.leftovers:
        left = path.with_name(name)
        if not _is_unfinished(name, target) or not os.path.lexists(left):
            continue
        if name.startswith(f".{target.name}.{OLD}-") and not os.path.lexists(target):
            os.rename(left, target)
            log.warning("restored %s from %s, where it had been put aside by %s", target, left.name, by)
            continue
        size = human_bytes(size_of(left))
        remove(left)
        log.warning("removed %s (%s), left by %s", left, size, by)


def _name_strangers(path: Path, target: Path) -> None:
    """Warn about unfinished work without a record, such as that of earlier versions, which may be in use."""
    for entry in path.parent.iterdir():
        if _is_unfinished(entry.name, target):
            log.warning(
                "%s (%s) is left from an unknown earlier run: remove it if nothing is being written there",
                entry,
                human_bytes(size_of(entry)),
            )


def size_of(path: Path) -> int:
    """Returns the bytes of a file, or of all files in a folder."""
    total = 0
    for entry in [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]:
        with suppress(OSError):
            found = entry.lstat()
            total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total


def remove(path: Path) -> None:
    """Remove a file, or a folder with its contents, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()

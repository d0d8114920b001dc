# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Files that appear complete or not at all, and what is written into because it is no regular file."""

from __future__ import annotations

import errno
import os
import pty
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nld_trt.errors import InputError, OperationError
from nld_trt.files import output_file as module
from nld_trt.files.output_file import publish_file


def publish(target: Path, content: str = "new") -> None:
    with publish_file(target) as work:
        work.write_text(content, encoding="utf-8")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old", encoding="utf-8")
    with publish_file(tmp_path / "x") as work:
        work.write_text("new", encoding="utf-8")
        assert (tmp_path / "x").read_text(encoding="utf-8") == "old"
    assert (tmp_path / "x").read_text(encoding="utf-8") == "new"
    assert names(tmp_path) == ["x"]


def test_failure_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt), publish_file(tmp_path / "x") as work:
        raise KeyboardInterrupt(work.write_text("new", encoding="utf-8"))
    assert (tmp_path / "x").read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("target", ["folder", "absent/x"])
def test_file_that_cannot_be_written_is_refused_before_work(tmp_path: Path, target: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="The output file"), publish_file(tmp_path / target):
        pytest.fail("the body ran")


def test_link_stays_and_its_file_is_written(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "real").write_text("old", encoding="utf-8")
    (tmp_path / "middle").symlink_to("deep/real")
    (tmp_path / "link").symlink_to(tmp_path / "middle")
    publish(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "middle").is_symlink()
    assert (tmp_path / "deep" / "real").read_text(encoding="utf-8") == "new"
    assert names(tmp_path / "deep") == ["real"]


def test_link_to_a_missing_file_makes_that_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    publish(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text(encoding="utf-8") == "new"


def test_circular_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(InputError, match="cannot be followed"):
        publish(tmp_path / "a")


@pytest.mark.parametrize("through_a_link", [False, True])
def test_pipe_is_written_into(tmp_path: Path, through_a_link: bool) -> None:
    target = tmp_path / "pipe"
    os.mkfifo(target)
    (tmp_path / "link").symlink_to("pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(target.read_text(encoding="utf-8")), daemon=True)
    reader.start()
    publish(tmp_path / "link" if through_a_link else target)
    reader.join(60)
    assert read == ["new"]
    assert stat.S_ISFIFO(target.stat().st_mode)
    assert names(tmp_path) == ["link", "pipe"]


def test_failure_writes_nothing_into_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text(encoding="utf-8")), daemon=True)
    reader.start()
    with pytest.raises(KeyboardInterrupt), publish_file(tmp_path / "pipe") as work:
        raise KeyboardInterrupt(work.write_text("half", encoding="utf-8"))
    reader.join(60)
    assert read == [""]


def test_reader_that_went_away_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)

    def leave() -> None:
        with publish_file(tmp_path / "pipe") as work:
            work.write_text("new", encoding="utf-8")
            os.close(reader)

    with pytest.raises(OperationError, match=r"reader of .*pipe closed it"):
        leave()


def test_pipe_without_a_reader_is_named_while_it_waits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=publish, args=(tmp_path / "pipe",), daemon=True)
    writer.start()
    for _ in range(600):
        if caplog.text:
            break
        writer.join(0.1)
    assert "waiting for a process that reads" in caplog.text
    assert (tmp_path / "pipe").read_text(encoding="utf-8") == "new"


@pytest.fixture
def terminal():
    """(our end, path of the other): a character device that anybody may make."""
    ours, theirs = pty.openpty()
    yield ours, Path(os.ttyname(theirs))
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("through_a_link", [False, True])
def test_device_is_written_into(tmp_path: Path, terminal, through_a_link: bool) -> None:
    ours, device = terminal
    (tmp_path / "link").symlink_to(device)
    publish(tmp_path / "link" if through_a_link else device)
    assert os.read(ours, 100) == b"new"
    assert stat.S_ISCHR(device.stat().st_mode)
    assert names(tmp_path) == ["link"]


@pytest.fixture
def device(tmp_path: Path):
    """Makes a memory device by its minor number; only root can."""

    def make(minor: int) -> Path:
        path = tmp_path / "device"
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
            path.open("wb").close()
        except OSError:
            pytest.skip("devices cannot be made here")
        return path

    return make


def test_null_device_stays_a_device(device) -> None:
    path = device(3)
    publish(path)
    assert stat.S_ISCHR(path.lstat().st_mode)
    assert names(path.parent) == ["device"]


def test_full_device_is_a_full_disk(device) -> None:
    path = device(7)
    with pytest.raises(OperationError, match="is full"):
        publish(path)
    assert stat.S_ISCHR(path.lstat().st_mode)


SCRIPT = """
import sys
from pathlib import Path
from nld_trt.files import publish_file
with publish_file(Path(sys.argv[1])) as work:
    print("shown")
    work.write_text("written")
print("after")
"""


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_own_output_gets_the_result_in_its_place(tmp_path: Path, name: str, kind: str) -> None:
    """A file that the shell opened is neither replaced nor written from its start."""
    arguments = [sys.executable, "-c", SCRIPT, name]
    if kind == "pipe":
        assert subprocess.run(arguments, stdout=subprocess.PIPE, check=True).stdout == b"shown\nwrittenafter\n"
        return
    with (tmp_path / "out").open("wb") as file:
        file.write(b"before ")
        file.flush()
        subprocess.run(arguments, stdout=file, check=True)
    assert (tmp_path / "out").read_text(encoding="utf-8") == "before shown\nwrittenafter\n"
    assert names(tmp_path) == ["out"]


def test_own_descriptor_that_is_closed_or_for_reading_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        publish(Path("/dev/fd/987"))
    (tmp_path / "x").touch()
    with (tmp_path / "x").open(encoding="utf-8") as file, pytest.raises(InputError, match="for reading only"):
        publish(Path(f"/dev/fd/{file.fileno()}"))


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o755])
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_old_file_keeps_its_mode(tmp_path: Path, mode: int, umask: int) -> None:
    (tmp_path / "x").touch()
    (tmp_path / "x").chmod(mode)
    before = os.umask(umask)
    try:
        publish(tmp_path / "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == mode


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_new_file_has_the_mode_of_any_new_file(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        publish(tmp_path / "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~umask


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_old_file_keeps_its_owner(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    os.chown(tmp_path / "x", 12345, 12346)
    publish(tmp_path / "x")
    found = (tmp_path / "x").stat()
    assert (found.st_uid, found.st_gid) == (12345, 12346)


def test_file_whose_owner_cannot_be_kept_is_written_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_text("older and longer", encoding="utf-8")
    inode = (tmp_path / "x").stat().st_ino
    monkeypatch.setattr(module, "_keep_permissions", lambda work, place: False)
    publish(tmp_path / "x")
    assert (tmp_path / "x").read_text(encoding="utf-8") == "new"
    assert (tmp_path / "x").stat().st_ino == inode
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EPERM])
def test_file_that_cannot_be_replaced_is_written_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As one that is mounted into a container by itself, or another user's in a folder like /tmp."""
    (tmp_path / "x").write_text("older and longer", encoding="utf-8")

    def refuse(source: Path, target: Path) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(os, "replace", refuse)
    publish(tmp_path / "x")
    assert (tmp_path / "x").read_text(encoding="utf-8") == "new"
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_file_in_a_folder_that_cannot_be_written_is_written_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / "x").write_text("older and longer", encoding="utf-8")

    def refuse(target: Path, home: Path):
        raise OSError(number, "no")

    monkeypatch.setattr(module, "locked", refuse)
    publish(tmp_path / "x")
    assert (tmp_path / "x").read_text(encoding="utf-8") == "new"
    with pytest.raises(InputError, match="cannot be written: no"), publish_file(tmp_path / "y"):
        pytest.fail("the body ran")


def test_file_in_place_is_written_by_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_text("old", encoding="utf-8")

    def refuse(target: Path, home: Path):
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(module, "locked", refuse)
    with publish_file(tmp_path / "x"), pytest.raises(InputError, match="another process"):
        publish(tmp_path / "x")


@pytest.mark.parametrize("target", ["file/x", "/proc/self/x", "/proc/x"])
def test_file_that_cannot_be_made_is_refused_before_work(tmp_path: Path, target: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="The output file"), publish_file(tmp_path / target):
        pytest.fail("the body ran")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_file_that_is_write_protected_is_refused_before_work(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    (tmp_path / "x").chmod(0o444)
    with pytest.raises(InputError, match="permissions"), publish_file(tmp_path / "x"):
        pytest.fail("the body ran")


def test_what_cannot_be_put_in_place_any_more_is_kept_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def failing(source: Path, target: Path) -> None:
        if Path(target).name == "x":
            raise OSError(errno.EIO, "broken")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OperationError, match="cannot be written any more: broken") as caught:
        publish(tmp_path / "x")
    (kept,) = tmp_path.iterdir()
    assert kept.read_text(encoding="utf-8") == "new"
    assert str(kept) in str(caught.value.fix)


def test_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old", encoding="utf-8")
    with pytest.raises(OperationError, match="is full"), publish_file(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "full")
    assert (tmp_path / "x").read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["x"]

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""One writer for one output, and what the next run does about one that was killed."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nld_trt.errors import InputError
from nld_trt.files import holder as holders
from nld_trt.files import locked_folder, publish_file, publish_folder, results_folder
from nld_trt.files.holder import Holder
from nld_trt.files.publish import check_target

WRITER = """
import sys
from pathlib import Path
from nld_trt.files import publish_file, publish_folder
target = Path(sys.argv[2])
if sys.argv[1] == "file":
    with publish_file(target) as work:
        work.write_text("half")
        print(flush=True)
        sys.stdin.read()
else:
    with publish_folder(target, force=True) as work:
        (work / "file").write_text("half")
        print(flush=True)
        sys.stdin.read()
"""


@contextmanager
def writing(target: Path, kind: str = "folder") -> Iterator[subprocess.Popen[bytes]]:
    """Another process that is about to publish ``target``."""
    arguments = [sys.executable, "-c", WRITER, kind, str(target)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        try:
            yield process
        finally:
            process.kill()


def killed(target: Path, kind: str = "folder") -> tuple[int, Path]:
    """(number of a process that was killed while it wrote ``target``, what it left)."""
    with writing(target, kind) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    (left,) = target.parent.glob(".*.partial-*")
    return process.pid, left


def publish(target: Path) -> None:
    with publish_folder(target, force=True) as folder:
        (folder / "file").write_text("new", encoding="utf-8")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def edit(lock: Path, **changes: object) -> None:
    lock.write_text(json.dumps(json.loads(lock.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def begin(context) -> None:
    with context:
        pytest.fail("the body ran")


WAYS = {
    "check": lambda target: check_target(target, force=True),
    "folder": lambda target: begin(publish_folder(target, force=True)),
    "file": lambda target: begin(publish_file(target)),
    "results": lambda target: begin(results_folder(target, marker="m", kind="sweep")),
    "locked": lambda target: begin(locked_folder(target)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_second_writer_is_refused_with_the_first_ones_process(tmp_path: Path, way: str, kind: str) -> None:
    with writing(tmp_path / "out", kind) as process:
        with pytest.raises(InputError, match=r"out is being written by another process") as caught:
            WAYS[way](tmp_path / "out")
        said = str(caught.value)
        assert f"process: {process.pid} on {socket.gethostname()}" in said
        assert f"{kind} {tmp_path / 'out'}" in said
        assert "since:   20" in said
        assert len(list(tmp_path.glob(".out.partial-*"))) == 1


def test_second_writer_in_the_same_process_is_refused(tmp_path: Path) -> None:
    with publish_folder(tmp_path / "out"), pytest.raises(InputError, match=f"process: {os.getpid()} on"):
        begin(publish_folder(tmp_path / "out"))
    assert names(tmp_path) == ["out"]


def test_output_by_another_name_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "alias").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to("out")
    monkeypatch.chdir(tmp_path)
    with writing(tmp_path / "out"):
        for other in (Path("out"), Path("alias/out"), Path("link"), tmp_path / "x" / ".." / "out"):
            with pytest.raises(InputError, match="being written"):
                begin(publish_folder(other))


def test_outputs_side_by_side_do_not_disturb_each_other(tmp_path: Path) -> None:
    with writing(tmp_path / "out"):
        publish(tmp_path / "other")
        publish(tmp_path / "out.2")
    assert {"other", "out.2"} <= set(names(tmp_path))


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_lock_goes_with_its_holder(tmp_path: Path, error: type[BaseException] | None) -> None:
    def write() -> None:
        with publish_folder(tmp_path / "out"):
            assert (tmp_path / ".out.lock").is_file()
            if error is not None:
                raise error

    if error is None:
        write()
    else:
        with pytest.raises(error):
            write()
    assert not (tmp_path / ".out.lock").exists()


@pytest.mark.parametrize("kind", ["folder", "file"])
@pytest.mark.parametrize("successor", ["folder", "file"])
def test_leftovers_of_a_killed_process_are_removed_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, successor: str
) -> None:
    pid, left = killed(tmp_path / "out", kind)
    if successor == "folder":
        publish(tmp_path / "out")
    else:
        with publish_file(tmp_path / "out") as work:
            work.write_text("new", encoding="utf-8")
    assert names(tmp_path) == ["out"]
    assert f"removed {left} (4 B), left by process {pid}" in caplog.text


def test_many_killed_processes_leave_no_more_than_one(tmp_path: Path) -> None:
    for _ in range(3):
        killed(tmp_path / "out")
    assert len(names(tmp_path)) == 2


def test_leftovers_of_a_living_process_stay(tmp_path: Path) -> None:
    with writing(tmp_path / "out"):
        before = names(tmp_path)
        with pytest.raises(InputError, match="being written"):
            publish(tmp_path / "out")
        assert names(tmp_path) == before


def test_process_of_another_machine_is_never_taken_for_dead(tmp_path: Path) -> None:
    _, left = killed(tmp_path / "out")
    edit(tmp_path / ".out.lock", host="elsewhere", boot="another")
    before = names(tmp_path)
    with pytest.raises(InputError, match="on elsewhere") as caught:
        publish(tmp_path / "out")
    assert names(tmp_path) == before
    assert f"remove {tmp_path / '.out.lock'} and {left}" in str(caught.value.fix)


def test_container_of_this_machine_can_be_judged(tmp_path: Path) -> None:
    """Every container has a host name of its own, and one kernel keeps the locks of them all."""
    killed(tmp_path / "out")
    edit(tmp_path / ".out.lock", host="4f1d2c")
    publish(tmp_path / "out")
    assert names(tmp_path) == ["out"]


def test_process_from_before_a_restart_is_dead(tmp_path: Path) -> None:
    killed(tmp_path / "out")
    edit(tmp_path / ".out.lock", boot="the boot before")
    publish(tmp_path / "out")
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize(
    "name",
    ["precious", "../precious", ".out.partial-0/../precious", "/precious", ".other.partial-0", ".out.quantizing"],
)
def test_record_leads_to_nothing_but_leftovers_of_its_output(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    killed(home / "out")
    for precious in (home / "precious", tmp_path / "precious", home / ".other.partial-0", home / ".out.quantizing"):
        precious.touch()
    before = {path for path in (*home.iterdir(), *tmp_path.iterdir()) if path.is_file()}
    edit(home / ".out.lock", leftovers=[name])
    publish(home / "out")
    assert {path for path in before if not path.exists()} <= {home / ".out.lock"}


def test_folder_that_was_put_aside_comes_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The process was killed between the two renames that replace a folder."""
    publish(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / ".out.old-1")
    killed(tmp_path / "out")
    edit(tmp_path / ".out.lock", leftovers=[".out.old-1"])
    with pytest.raises(InputError, match="is not empty"):
        begin(publish_folder(tmp_path / "out"))
    assert (tmp_path / "out" / "file").read_text(encoding="utf-8") == "new"
    assert "restored" in caplog.text


@pytest.mark.parametrize("record", ["", "{", "[]", '{"pid": 1}', "\0\0\0"])
def test_lock_without_a_record_is_taken_over(tmp_path: Path, record: str) -> None:
    (tmp_path / ".out.lock").write_text(record, encoding="utf-8")
    publish(tmp_path / "out")
    assert names(tmp_path) == ["out"]


def test_leftover_that_no_record_tells_of_is_named_and_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / ".out.partial-0123abcd").mkdir()
    publish(tmp_path / "out")
    assert names(tmp_path) == [".out.partial-0123abcd", "out"]
    assert f"{tmp_path / '.out.partial-0123abcd'} (0 B) is left" in caplog.text


def test_leftover_does_not_make_a_mount_point_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda self: self.name == "volume")
    _, left = killed(tmp_path / "volume")
    for path in (left, tmp_path / ".volume.lock"):
        path.rename(volume / path.name)
    with publish_folder(volume) as folder:
        (folder / "file").touch()
    assert names(volume) == ["file"]


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has none, as some network file systems."""

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_without_locks_a_living_process_is_known_by_its_start(tmp_path: Path, without_locks: None) -> None:
    with writing(tmp_path / "out"), pytest.raises(InputError, match="being written"):
        publish(tmp_path / "out")


def test_without_locks_a_dead_process_is_known_too(tmp_path: Path, without_locks: None) -> None:
    killed(tmp_path / "out")
    publish(tmp_path / "out")
    assert names(tmp_path) == ["out"]


def test_without_locks_a_later_process_with_the_same_number_is_no_holder(tmp_path: Path, without_locks: None) -> None:
    killed(tmp_path / "out")
    edit(tmp_path / ".out.lock", pid=os.getpid())
    publish(tmp_path / "out")
    assert names(tmp_path) == ["out"]


def test_without_locks_processes_of_another_container_are_not_judged(
    tmp_path: Path, without_locks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(tmp_path / "out")
    monkeypatch.setattr(holders, "_namespace", lambda: "pid:[another]")
    with pytest.raises(InputError, match="being written"):
        publish(tmp_path / "out")


def test_record_survives_json() -> None:
    found = Holder.this_process().with_leftover(".out.partial-1")
    assert Holder.from_json(found.to_json()) == found
    assert found.is_here
    assert found.started is not None


RACER = """
import sys
from pathlib import Path
from nld_trt.errors import InputError
from nld_trt.files import publish_folder
target, mark = Path(sys.argv[1]), sys.argv[2]
print(flush=True)
sys.stdin.read()
try:
    with publish_folder(target, force=True) as work:
        for name in "abcdefgh":
            (work / name).write_text(mark)
except InputError as error:
    assert "being written" in str(error), error
"""


def test_racing_processes_never_mix_their_files(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", RACER, str(tmp_path / "out")]
    racers = [
        subprocess.Popen([*arguments, str(mark)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for mark in range(4)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == b"\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.close()
    for racer in racers:
        assert racer.stdout is not None
        racer.stdout.close()
        assert racer.wait(120) == 0
    assert names(tmp_path) == ["out"]
    assert len({path.read_text(encoding="utf-8") for path in (tmp_path / "out").iterdir()}) == 1

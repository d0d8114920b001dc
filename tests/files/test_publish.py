# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Folders that appear complete or not at all."""

import errno
import os
from pathlib import Path

import pytest

from nld_trt.errors import InputError, OperationError
from nld_trt.files.publish import check_target, publish_folder, results_folder


def publish(target: Path, content: str = "new", **options: object) -> None:
    with publish_folder(target, **options) as folder:
        (folder / "file").write_text(content, encoding="utf-8")
        (folder / "manifest.json").write_text("{}", encoding="utf-8")


def fail(target: Path, error: BaseException, beside: str | None = None) -> None:
    """Start to publish, write a file (and one in the parent folder), and fail."""
    with publish_folder(target) as folder:
        (folder / "file").touch()
        if beside is not None:
            (target.parent / beside).touch()
        raise error


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# publish_folder: success


def test_folder_appears_with_its_content(tmp_path: Path) -> None:
    publish(tmp_path / "out")
    assert (tmp_path / "out" / "file").read_text(encoding="utf-8") == "new"
    assert names(tmp_path) == ["out"]


def test_folder_is_hidden_until_it_is_complete(tmp_path: Path) -> None:
    with publish_folder(tmp_path / "out") as folder:
        assert folder.parent == tmp_path
        assert folder.name.startswith(".out.partial-")
        assert not (tmp_path / "out").exists()


def test_missing_parents_are_created(tmp_path: Path) -> None:
    publish(tmp_path / "a" / "b" / "out")
    assert names(tmp_path / "a" / "b") == ["out"]


def test_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    publish(tmp_path / "out")
    assert names(tmp_path) == ["out"]


def test_relative_target_is_taken_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    publish(Path("out"))
    assert (tmp_path / "out" / "file").exists()


def test_folder_has_ordinary_permissions(tmp_path: Path) -> None:
    publish(tmp_path / "out")
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_force_replaces_everything(tmp_path: Path) -> None:
    publish(tmp_path / "out", "old")
    (tmp_path / "out" / "stale").touch()
    publish(tmp_path / "out", force=True)
    assert (tmp_path / "out" / "file").read_text(encoding="utf-8") == "new"
    assert names(tmp_path / "out") == ["file", "manifest.json"]
    assert names(tmp_path) == ["out"]


def test_force_with_marker_replaces_a_folder_of_its_kind(tmp_path: Path) -> None:
    publish(tmp_path / "out", "old")
    publish(tmp_path / "out", force=True, marker="manifest.json")
    assert (tmp_path / "out" / "file").read_text(encoding="utf-8") == "new"


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that says it is a mount point, as a container's volume does."""
    (tmp_path / "volume").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda self: self.name == "volume")
    return tmp_path / "volume"


def test_mount_point_is_filled_from_inside(mount: Path) -> None:
    inode = mount.stat().st_ino
    publish(mount)
    assert names(mount) == ["file", "manifest.json"]
    assert mount.stat().st_ino == inode


def test_mount_point_is_replaced_with_force(mount: Path) -> None:
    publish(mount, "old")
    (mount / "stale").mkdir()
    publish(mount, force=True)
    assert names(mount) == ["file", "manifest.json"]
    assert (mount / "file").read_text(encoding="utf-8") == "new"


# publish_folder: failure leaves nothing and damages nothing


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, InputError])
def test_failure_leaves_nothing_behind(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        fail(tmp_path / "a" / "out", error("stop"))
    assert names(tmp_path) == []


def test_failure_keeps_parents_that_are_in_use(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stop"):
        fail(tmp_path / "a" / "out", ValueError("stop"), beside="other")
    assert names(tmp_path / "a") == ["other"]


def test_failure_with_force_keeps_the_old_folder(tmp_path: Path) -> None:
    publish(tmp_path / "out", "old")
    with pytest.raises(KeyboardInterrupt), publish_folder(tmp_path / "out", force=True):
        raise KeyboardInterrupt
    assert (tmp_path / "out" / "file").read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["out"]


def test_failing_rename_with_force_restores_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path / "out", "old")
    rename = os.rename

    def failing(source: Path, target: Path) -> None:
        if ".partial-" in Path(source).name:
            raise OSError(errno.EIO, "broken")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="broken"):
        publish(tmp_path / "out", force=True)
    assert (tmp_path / "out" / "file").read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_an_operation_error(tmp_path: Path, number: int) -> None:
    with pytest.raises(OperationError, match="is full"):
        fail(tmp_path / "out", OSError(number, "full"))
    assert names(tmp_path) == []


def test_too_little_space_is_refused_before_the_body_runs(tmp_path: Path) -> None:
    with (
        pytest.raises(OperationError, match=r"1152921\.5 TB are needed"),
        publish_folder(tmp_path / "out", needs_bytes=1 << 60),
    ):
        pytest.fail("the body ran")
    assert names(tmp_path) == []


def test_taken_folder_is_refused_with_both_ways_out(tmp_path: Path) -> None:
    publish(tmp_path / "out", "old")
    with pytest.raises(InputError, match="--force to replace it, or choose another output folder with -o"):
        publish(tmp_path / "out")
    assert (tmp_path / "out" / "file").read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("force", [False, True])
def test_file_in_the_way_is_refused(tmp_path: Path, force: bool) -> None:
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="is a file"):
        publish(tmp_path / "out", force=force)
    assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"


def test_force_does_not_replace_a_folder_without_the_marker(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(InputError, match=r"holds other files and no manifest\.json"):
        publish(tmp_path / "out", force=True, marker="manifest.json")
    assert names(tmp_path / "out") == ["mine"]


def test_force_does_not_replace_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "deep")
    with pytest.raises(InputError, match="your working or home folder"):
        publish(tmp_path / "work", force=True)
    assert names(tmp_path) == ["work"]


def test_parent_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "parent").touch()
    with pytest.raises(InputError, match="Cannot create a folder"):
        publish(tmp_path / "parent" / "out")
    assert names(tmp_path) == ["parent"]


# check_target


def test_relative_target_is_checked_as_what_it_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    with pytest.raises(InputError, match="your working or home folder"):
        check_target(Path(".."), force=True)


def test_target_that_cannot_be_written_is_refused_by_the_check(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for parent in (tmp_path / "file", Path("/proc/self")):
        with pytest.raises(InputError, match="Cannot create a folder"):
            check_target(parent / "out", force=False)
    assert names(tmp_path) == ["file"]


def test_check_leaves_nothing(tmp_path: Path) -> None:
    check_target(tmp_path / "a" / "out", force=False)
    assert names(tmp_path) == []


@pytest.mark.parametrize("force", [False, True])
def test_user_without_a_home_may_publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool) -> None:
    """As in a container that runs under a number nobody has."""
    publish(tmp_path / "old", "old")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    with pytest.raises(RuntimeError):
        Path.home()
    publish(tmp_path / ("old" if force else "new"), force=force)


def test_deleted_working_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(InputError, match="working folder, which was deleted"):
        publish(Path("out"))
    publish(tmp_path / "out", "old")
    publish(tmp_path / "out", force=True)


def test_link_to_a_folder_stays_and_the_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    publish(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "real") == ["file", "manifest.json"]


def test_circular_link_is_no_target(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(InputError, match="cannot be followed"):
        publish(tmp_path / "a")


@pytest.mark.parametrize("old", [None, "old"])
def test_folder_that_was_there_keeps_its_mode(tmp_path: Path, old: str | None) -> None:
    (tmp_path / "out").mkdir()
    if old:
        (tmp_path / "out" / "file").write_text(old, encoding="utf-8")
    (tmp_path / "out").chmod(0o2750)
    publish(tmp_path / "out", force=True)
    assert (tmp_path / "out").stat().st_mode & 0o7777 == 0o2750


@pytest.mark.parametrize("force", [False, True])
def test_folder_in_one_that_cannot_be_written_is_filled_from_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    (tmp_path / "out").mkdir()
    if force:
        (tmp_path / "out" / "stale").touch()
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path and allowed(path, mode))
    inode = (tmp_path / "out").stat().st_ino
    publish(tmp_path / "out", force=force)
    assert names(tmp_path / "out") == ["file", "manifest.json"]
    assert (tmp_path / "out").stat().st_ino == inode


def test_marker_comes_last_to_a_mount_point(mount: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is there, a result that was cut off does not look like one."""
    moved: list[str] = []
    rename = os.rename

    def noting(source: Path, target: Path) -> None:
        moved.append(Path(target).name)
        rename(source, target)

    monkeypatch.setattr(os, "rename", noting)
    with publish_folder(mount, marker="a.json") as folder:
        for name in ("a.json", "b", "c"):
            (folder / name).touch()
    assert moved == ["b", "c", "a.json"]


# results_folder


def test_results_stay_when_the_body_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), results_folder(tmp_path / "out", marker="m", kind="sweep") as folder:
        raise KeyboardInterrupt((folder / "m").touch())
    assert names(tmp_path / "out") == ["m"]
    assert names(tmp_path) == ["out"]


def test_results_folder_that_stayed_empty_goes(tmp_path: Path) -> None:
    with pytest.raises(InputError), results_folder(tmp_path / "a" / "out", marker="m", kind="sweep"):
        raise InputError("stop")
    assert names(tmp_path) == []


def test_earlier_results_are_gone_on_with_and_others_refused(tmp_path: Path) -> None:
    for _ in range(2):
        with results_folder(tmp_path / "out", marker="m", kind="sweep") as folder:
            (folder / "m").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis").touch()
    with (
        pytest.raises(InputError, match="is not a sweep folder"),
        results_folder(tmp_path / "other", marker="m", kind="sweep"),
    ):
        pytest.fail("the body ran")


def test_results_folder_that_cannot_be_written_is_refused_before_the_body_runs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for target in (tmp_path / "file" / "out", Path("/proc/self/out")):
        with pytest.raises(InputError, match="Cannot create"), results_folder(target, marker="m", kind="sweep"):
            pytest.fail("the body ran")

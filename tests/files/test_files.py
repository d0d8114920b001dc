# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Folders that appear complete or not at all, and paths that stay where they belong."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from nld_trt.errors import InputError, OperationError
from nld_trt.files import (
    HubSnapshot,
    check_target,
    human_bytes,
    inside,
    publish_file,
    publish_folder,
    read_json,
    sha256_of,
    write_json,
)


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


# inside


@pytest.mark.parametrize("relative", ["file", "a/b", Path("a", "b"), "..."])
def test_path_inside_is_returned(tmp_path: Path, relative: str | Path) -> None:
    assert inside(tmp_path, relative) == tmp_path / relative


@pytest.mark.parametrize("relative", ["../x", "a/../../x", "a/../x", "/etc/passwd", "..", "a\0b"])
def test_path_that_could_leave_is_refused(tmp_path: Path, relative: str) -> None:
    with pytest.raises(InputError, match=r"not a path inside|cannot be followed"):
        inside(tmp_path, relative)


def test_link_within_the_folder_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    assert inside(tmp_path, "link") == tmp_path / "link"


@pytest.mark.parametrize("link_to", ["../secret", "/etc/hostname"])
def test_link_that_leaves_is_refused(tmp_path: Path, link_to: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(link_to)
    with pytest.raises(InputError, match="leaves its folder"):
        inside(folder, "link")


def test_link_in_a_parent_folder_of_the_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "folder" / "sub").symlink_to("../other")
    with pytest.raises(InputError, match="leaves its folder"):
        inside(tmp_path / "folder", "sub/file")


def test_circular_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(InputError, match="cannot be followed"):
        inside(tmp_path, "a")


def test_folder_that_is_itself_reached_by_a_link_is_fine(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "alias").symlink_to("real")
    assert inside(tmp_path / "alias", "file") == tmp_path / "alias" / "file"


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A snapshot folder in a Hugging Face cache with two repositories."""
    for repository in ("models--owner--name", "models--owner--other"):
        (tmp_path / repository / "blobs").mkdir(parents=True)
        (tmp_path / repository / "blobs" / "abc").touch()
        (tmp_path / repository / "snapshots" / "rev" / "sub").mkdir(parents=True)
    return tmp_path / "models--owner--name" / "snapshots" / "rev"


def test_link_to_a_blob_of_the_same_repository_is_accepted(snapshot: Path) -> None:
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    (snapshot / "sub" / "config.json").symlink_to("../../../blobs/abc")
    assert inside(snapshot, "config.json").is_file()
    assert inside(snapshot / "sub", "config.json").is_file()


@pytest.mark.parametrize("link_to", ["../../../models--owner--other/blobs/abc", "../../refs", "../../blobs/../refs"])
def test_other_link_out_of_a_snapshot_is_refused(snapshot: Path, link_to: str) -> None:
    (snapshot / "config.json").symlink_to(link_to)
    with pytest.raises(InputError, match="leaves its folder"):
        inside(snapshot, "config.json")


@pytest.fixture
def links(tmp_path: Path) -> Path:
    """A folder beside the cache, for links into it."""
    folder = tmp_path / "checkpoints" / "mine"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("place", ["blobs/abc", "snapshots/rev/config.json", "snapshots/rev/chain.json"])
def test_link_from_any_folder_to_a_file_of_a_cache_is_accepted(
    snapshot: Path, links: Path, place: str, relative: bool
) -> None:
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    (snapshot / "chain.json").symlink_to("config.json")
    target = snapshot.parents[1] / place
    (links / "config.json").symlink_to(os.path.relpath(target, links) if relative else target)
    assert inside(links, "config.json").is_file()


def test_link_to_a_file_that_a_cache_without_links_holds_is_accepted(snapshot: Path, links: Path) -> None:
    (snapshot / "config.json").touch()
    (links / "config.json").symlink_to(snapshot / "config.json")
    assert inside(links, "config.json").is_file()


def test_link_to_a_folder_of_a_snapshot_is_accepted_with_what_is_in_it(snapshot: Path, links: Path) -> None:
    (snapshot / "sub" / "weights").symlink_to("../../../blobs/abc")
    (links / "sub").symlink_to(snapshot / "sub")
    assert inside(links, "sub").is_dir()
    assert inside(links, "sub/weights").is_file()


def test_folder_that_is_a_link_to_a_snapshot_is_that_snapshot(snapshot: Path, tmp_path: Path) -> None:
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    (tmp_path / "alias").symlink_to(snapshot)
    assert inside(tmp_path / "alias", "config.json").is_file()


@pytest.mark.parametrize("place", ["refs", "blobs", "secret", "snapshots", "blobs/sub/abc", "../secret"])
def test_link_to_another_place_in_or_near_a_cache_is_refused(snapshot: Path, links: Path, place: str) -> None:
    (links / "config.json").symlink_to(snapshot.parents[1] / place)
    with pytest.raises(InputError, match="leaves its folder"):
        inside(links, "config.json")


@pytest.mark.parametrize("here", ["blobs/leak", "snapshots/rev/leak"])
def test_chain_of_links_that_ends_outside_a_cache_is_refused(
    snapshot: Path, links: Path, tmp_path: Path, here: str
) -> None:
    (tmp_path / "secret").touch()
    leak = snapshot.parents[1] / here
    leak.symlink_to(tmp_path / "secret")
    (links / "config.json").symlink_to(leak)
    with pytest.raises(InputError, match="leaves its folder"):
        inside(links, "config.json")


def test_link_to_a_folder_named_blobs_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "abc").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").symlink_to("../blobs/abc")
    with pytest.raises(InputError, match="leaves its folder"):
        inside(tmp_path / "folder", "config.json")


def test_snapshot_tells_repository_and_revision(snapshot: Path) -> None:
    found = HubSnapshot.around(snapshot / "sub")
    assert found is not None
    assert (found.repository, found.revision) == ("owner/name", "rev")


def test_ordinary_folder_is_no_snapshot(tmp_path: Path) -> None:
    assert HubSnapshot.around(tmp_path) is None


# JSON, hashes, sizes


def test_json_round_trip_keeps_order_and_letters(tmp_path: Path) -> None:
    value = {"b": 1, "a": "é", "n": None}
    write_json(tmp_path / "x.json", value)
    assert list(read_json(tmp_path / "x.json").items()) == list(value.items())
    assert "é" in (tmp_path / "x.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"3", b"\xff\xfe\x00", b"[" * 100000])
def test_json_that_is_not_an_object_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(InputError, match=r"x\.json"):
        read_json(tmp_path / "x.json")


def test_json_error_names_the_place(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{\n "a": }', encoding="utf-8")
    with pytest.raises(InputError, match="line 2, column 7"):
        read_json(tmp_path / "x.json")


def test_missing_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_json(tmp_path / "x.json")


def test_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "x.json") == {"a": 1}


def test_sha256_is_that_of_the_whole_file(tmp_path: Path) -> None:
    data = os.urandom((8 << 20) + 17)
    (tmp_path / "x").write_bytes(data)
    assert sha256_of(tmp_path / "x") == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (16_979_107_840, "17.0 GB"), (10**16, "10000.0 TB")],
)
def test_sizes_read_like_model_cards(size: int, text: str) -> None:
    assert human_bytes(size) == text


# check_target and publish_file


def test_relative_target_is_checked_as_what_it_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    with pytest.raises(InputError, match="your working or home folder"):
        check_target(Path(".."), force=True)


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

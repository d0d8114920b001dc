# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Paths that stay where they belong."""

import os
from pathlib import Path

import pytest

from nld_trt.errors import InputError
from nld_trt.files.paths import HubSnapshot, inside, is_mount_point


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


@pytest.mark.parametrize("way", ["path", "alias", "links", "links to folders"])
def test_cache_that_is_a_link_to_a_folder_of_another_name_is_a_cache(
    snapshot: Path, links: Path, tmp_path: Path, way: str
) -> None:
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    (snapshot / "sub" / "config.json").symlink_to("../../../blobs/abc")
    (snapshot.parents[1] / "refs").mkdir()
    (tmp_path / "large" / "disk").mkdir(parents=True)
    snapshot.parents[1].rename(tmp_path / "large" / "disk" / "nld")
    snapshot.parents[1].symlink_to(tmp_path / "large" / "disk" / "nld")
    (tmp_path / "alias").symlink_to(snapshot)
    (links / "config.json").symlink_to(snapshot / "config.json")
    (links / "sub").symlink_to(snapshot / "sub")
    folder, name = {
        "path": (snapshot, "config.json"),
        "alias": (tmp_path / "alias", "config.json"),
        "links": (links, "config.json"),
        "links to folders": (links, "sub/config.json"),
    }[way]
    assert inside(folder, name).is_file()


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


def test_root_and_proc_are_mount_points_and_a_new_folder_is_none(tmp_path: Path) -> None:
    assert is_mount_point(Path("/"))
    assert is_mount_point(Path("/proc"))
    assert not is_mount_point(tmp_path)


def test_folder_of_the_same_disk_that_is_mounted_is_a_mount_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = tmp_path / "my volume"
    volume.mkdir()
    line = f"36 35 98:0 /data {tmp_path}/my\\040volume rw,noatime - ext4 /dev/vda1 rw"
    read = Path.read_text

    def table(path: Path, **options: str) -> str:
        return f"{line}\n" if path == Path("/proc/self/mountinfo") else read(path, **options)

    monkeypatch.setattr(Path, "read_text", table)
    assert is_mount_point(volume)
    assert not is_mount_point(tmp_path)

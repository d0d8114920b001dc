# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Weights in files of other names than a release's, and what tells that they belong together."""

from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from nld_trt.errors import InputError
from nld_trt.model.checkpoint import Checkpoint

SINGLE = [
    "model-00001-of-00001.safetensors",
    "pytorch_model.safetensors",
    "pytorch_model-00001-of-00001.safetensors",
    "consolidated.safetensors",
    "my-weights.safetensors",
]
PATTERNS = ["model-{:05}-of-{:05}.safetensors", "pytorch_model-{:05}-of-{:05}.safetensors", "{}-of-{}.safetensors"]


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        Checkpoint.open(folder)
    return str(caught.value)


def spread(release, pattern: str, parts: int = 3) -> list[Path]:
    """Put the weights into ``parts`` files without an index."""
    tensors = load_file(release.weights)
    release.weights.unlink()
    paths = [release.folder / pattern.format(part + 1, parts) for part in range(parts)]
    for part, path in enumerate(paths):
        save_file({name: tensors[name] for name in sorted(tensors)[part::parts]}, path)
    return paths


@pytest.mark.parametrize("name", SINGLE)
def test_one_file_of_any_name_is_the_weights(release, name: str) -> None:
    expected = load_file(release.weights).keys()
    release.weights.rename(release.folder / name)
    checkpoint = Checkpoint.open(release.folder)
    assert set(checkpoint.names) == expected
    assert checkpoint.notes == (f"weights are those of {name}, without an index",)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_complete_numbered_shards_need_no_index(release, pattern: str) -> None:
    expected = load_file(release.weights).keys()
    paths = spread(release, pattern)
    checkpoint = Checkpoint.open(release.folder)
    assert set(checkpoint.names) == expected
    assert f"{paths[0].name} to {paths[-1].name}, without an index" in checkpoint.notes[0]


def test_index_of_another_name_is_used(release) -> None:
    expected = load_file(release.weights).keys()
    release.shard().rename(release.folder / "pytorch_model.safetensors.index.json")
    checkpoint = Checkpoint.open(release.folder)
    assert set(checkpoint.names) == expected
    assert checkpoint.notes == ("weights are those of pytorch_model.safetensors.index.json",)


def test_index_wins_over_another_file(release) -> None:
    save_file(load_file(release.weights), release.folder / "consolidated.safetensors")
    release.shard()
    assert Checkpoint.open(release.folder).notes == ()


@pytest.mark.parametrize("absent", [0, 1, 2])
def test_numbered_shards_that_are_incomplete_are_refused(release, absent: int) -> None:
    paths = spread(release, PATTERNS[0])
    paths[absent].unlink()
    text = refusal(release.folder)
    assert "has 2 of 3 weights files, by their numbers" in text
    assert all(path.name in text for path in paths if path.exists())


def test_first_of_many_shards_alone_is_refused(release) -> None:
    release.weights.rename(release.folder / "model-00001-of-99999999999.safetensors")
    assert "has 1 of 99999999999 weights files" in refusal(release.folder)


@pytest.mark.parametrize(
    "others",
    [
        ("consolidated.safetensors",),
        ("pytorch_model-00001-of-00003.safetensors",),
        ("model-00001-of-00004.safetensors",),
    ],
)
def test_files_that_nothing_ties_together_are_refused_by_name(release, others: tuple[str, ...]) -> None:
    paths = spread(release, PATTERNS[0])
    for name in others:
        save_file(load_file(paths[0]), release.folder / name)
    text = refusal(release.folder)
    assert "cannot be read as one checkpoint" in text
    assert all(name in text for name in (*others, paths[0].name))


def test_tensor_in_two_shards_without_an_index_is_refused(release) -> None:
    first, second, _ = spread(release, PATTERNS[0])
    name = next(iter(load_file(first)))
    release.edit_tensors(lambda tensors: tensors.update({name: load_file(first)[name]}), second)
    assert f"{name} is in {first.name} and in {second.name}" in refusal(release.folder)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "optimizer.safetensors"])
def test_other_files_of_the_format_are_not_weights(release, name: str) -> None:
    release.weights.rename(release.folder / name)
    assert "has no weights" in refusal(release.folder)


def test_shard_link_that_leaves_the_folder_is_refused(release, tmp_path: Path) -> None:
    release.weights.rename(tmp_path / "outside")
    (release.folder / SINGLE[0]).symlink_to(tmp_path / "outside")
    assert "is a link that leaves its folder" in refusal(release.folder)

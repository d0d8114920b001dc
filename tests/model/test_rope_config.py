# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The rotary parameters as other writers of config.json state them."""

import json
from pathlib import Path

import pytest

from nld_trt.errors import InputError
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.convert import convert


def restate(release, move) -> dict:
    """Rewrite config.json with its block taken apart by ``move``; returns the block."""
    path = release.folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    block = config.pop("rope_parameters")
    path.write_text(json.dumps({**config, **move(dict(block))}), encoding="utf-8")
    return block


def old_transformers(block: dict) -> dict:
    theta = block.pop("rope_theta")
    block["type"] = block.pop("rope_type")
    return {"rope_theta": theta, "rope_scaling": block}


def other_library(block: dict) -> dict:
    beta = block.pop("llama_4_scaling_beta")
    scale = {"beta": beta, "original_max_position_embeddings": block["original_max_position_embeddings"]}
    return {"rope_parameters": block, "llama_4_scaling": scale}


def typed(block: dict) -> dict:
    return {"rope_parameters": {("type" if key == "rope_type" else key): value for key, value in block.items()}}


def beside(block: dict) -> dict:
    keys = ("rope_theta", "original_max_position_embeddings", "llama_4_scaling_beta")
    return {**{key: block.pop(key) for key in keys}, "rope_scaling": block}


SPELLINGS = {
    "old transformers": (old_transformers, "rope_scaling and rope_theta"),
    "another name": (lambda block: {"rope_scaling": block}, "rope_scaling"),
    "both blocks": (
        lambda block: {"rope_parameters": {"rope_theta": block["rope_theta"]}, "rope_scaling": block},
        "rope_scaling",
    ),
    "null block": (lambda block: {"rope_parameters": None, "rope_scaling": block}, "rope_scaling"),
    "query scale apart": (other_library, "llama_4_scaling"),
    "type": (typed, "rope_parameters"),
    "keys beside the block": (beside, "rope_theta"),
}


@pytest.mark.parametrize(("move", "source"), SPELLINGS.values(), ids=SPELLINGS)
def test_other_spellings_mean_the_same(release, move, source: str) -> None:
    expected = Checkpoint.open(release.folder).config
    restate(release, move)
    checkpoint = Checkpoint.open(release.folder)
    assert checkpoint.config == expected
    (line,) = checkpoint.notes
    assert line.startswith("config.json: rope_parameters taken from ")
    assert source in line


@pytest.mark.parametrize(("move", "source"), SPELLINGS.values(), ids=SPELLINGS)
def test_convert_writes_the_releases_spelling(release, tmp_path: Path, move, source: str) -> None:
    block = restate(release, move)
    convert(release.folder, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert written["rope_parameters"] == block
    assert not {"rope_scaling", "rope_theta", "llama_4_scaling"} & written.keys()
    assert Checkpoint.open_converted(tmp_path / "out").notes == ()


def test_the_same_said_twice_is_left_as_it_is(release) -> None:
    restate(release, lambda block: {"rope_parameters": {**block, "type": block["rope_type"]}, "rope_scaling": block})
    assert Checkpoint.open(release.folder).notes == ()


@pytest.mark.parametrize(
    ("move", "said"),
    [
        (lambda block: {"rope_parameters": block, "rope_theta": 10.0}, "rope_theta is 10.0"),
        (lambda block: {"rope_parameters": block, "rope_scaling": {"factor": 2.0}}, "rope_scaling.factor is 2.0"),
        (lambda block: {"rope_parameters": {**block, "type": "linear"}}, "rope_parameters.type is 'linear'"),
        (lambda block: {"rope_parameters": block, "llama_4_scaling": {"beta": 9}}, "llama_4_scaling.beta is 9"),
    ],
)
def test_statements_that_disagree_are_refused_by_name(release, move, said: str) -> None:
    restate(release, move)
    with pytest.raises(InputError) as caught:
        Checkpoint.open(release.folder)
    assert said in str(caught.value)


@pytest.mark.parametrize("key", ["rope_theta", "factor", "original_max_position_embeddings", "llama_4_scaling_beta"])
def test_what_no_place_says_is_missing(release, key: str) -> None:
    restate(release, lambda block: {"rope_scaling": {name: block[name] for name in block if name != key}})
    with pytest.raises(InputError, match=f"rope_parameters.{key} is None"):
        Checkpoint.open(release.folder)


def test_another_kind_of_scaling_is_refused(release) -> None:
    restate(release, lambda block: {"rope_scaling": {**block, "rope_type": "linear"}})
    with pytest.raises(InputError, match="rope_type is 'linear'"):
        Checkpoint.open(release.folder)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Reading generation_config.json: which tokens end an answer, which defaults count, and what is named instead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nld_trt.errors import InputError
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.config import MAX_EOS_IDS, ModelConfig
from nld_trt.model.convert import convert
from nld_trt.model.generation import GenerationConfig, GenerationDefaults

ABSENT = object()


def write(release, name: str, eos: object) -> None:
    path = release.folder / name
    values = json.loads(path.read_text(encoding="utf-8"))
    values.pop("eos_token_id")
    path.write_text(json.dumps(values if eos is ABSENT else {**values, "eos_token_id": eos}), encoding="utf-8")


@pytest.mark.parametrize(
    ("in_config", "in_generation", "expected"),
    [
        (11, 11, (11,)),
        (11, [11, 27], (11, 27)),
        (27, [11, 27], (27, 11)),  # the token that the model was trained to end with is still the one that is written
        (11, 27, (27,)),
        (11, [27], (27,)),
        (11, [27, 27, 28], (27, 28)),
        ([11, 27], ABSENT, (11, 27)),
        ([11, 27], None, (11, 27)),
        ([11, 27], 28, (28,)),
        (None, [27, 28], (27, 28)),
        (ABSENT, 27, (27,)),
        (11, [*range(20, 20 + MAX_EOS_IDS)], tuple(range(20, 20 + MAX_EOS_IDS))),
    ],
)
def test_generation_config_comes_before_config(release, in_config, in_generation, expected) -> None:
    write(release, "config.json", in_config)
    write(release, "generation_config.json", in_generation)
    config = Checkpoint.open(release.folder).config
    assert config.eos_token_ids == expected
    assert config.eos_token_id == expected[0]


def test_without_a_generation_config_those_of_config_count(release) -> None:
    (release.folder / "generation_config.json").unlink()
    release.edit_config(eos_token_id=[11, 27])
    checkpoint = Checkpoint.open(release.folder)
    assert checkpoint.config.eos_token_ids == (11, 27)
    assert checkpoint.generation == GenerationDefaults()


def test_several_ids_survive_a_conversion_and_are_in_its_manifest(release, tmp_path: Path) -> None:
    release.edit_generation(eos_token_id=[11, 27])
    manifest = convert(release.folder, tmp_path / "out")
    assert manifest["token_ids"]["eos_token_id"] == [11, 27]
    assert Checkpoint.open_converted(tmp_path / "out", verify=True).config.eos_token_ids == (11, 27)


@given(st.lists(st.integers(0, 255).filter(lambda token: token != 100), min_size=1, max_size=MAX_EOS_IDS))
def test_dict_round_trip_keeps_several_ids(goldens: Path, ids: list[int]) -> None:
    config = ModelConfig.from_hf(json.loads((goldens / "tiny-a" / "config.json").read_text(encoding="utf-8"))).with_eos(
        ids
    )
    assert sorted(config.eos_token_ids) == sorted(set(ids))
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


BAD_IDS = {
    "beyond the vocabulary": (256, "eos_token_id is 256"),
    "one of a list": ([11, 99999], "eos_token_id has 99999"),
    "below 0": (-1, "eos_token_id is -1"),
    "below 0 in a list": ([11, -1], "eos_token_id has -1"),
    "text": ("11", "eos_token_id is '11'"),
    "text in a list": ([11, "27"], "eos_token_id has '27'"),
    "bool": (True, "eos_token_id is True"),
    "fraction": ([11, 2.0], "eos_token_id has 2.0"),
    "null in a list": ([11, None], "eos_token_id has None"),
    "list in a list": ([[11]], r"eos_token_id has \[11\]"),
    "object": ({"id": 11}, "eos_token_id is {'id': 11}"),
    "empty list": ([], "eos_token_id is an empty list"),
    "mask": ([11, 100], "eos_token_id and mask_token_id are both 100"),
    "too many": ([*range(20, 21 + MAX_EOS_IDS)], f"has {MAX_EOS_IDS + 1} token ids; .* up to {MAX_EOS_IDS}"),
}


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
@pytest.mark.parametrize("case", BAD_IDS)
def test_ids_that_cannot_be_are_refused_by_file_and_value(release, tmp_path: Path, case, name) -> None:
    stated, message = BAD_IDS[case]
    release.edit_json(name, eos_token_id=stated)
    with pytest.raises(InputError, match=rf"(?s){name}.*{message}"):
        convert(release.folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


BAD_DEFAULTS = {
    "temperature": (-0.5, "0.6", True, float("nan"), float("inf"), [0.6], 1e39),
    "top_k": (-1, 2.5, "50", False),
    "top_p": (0, 1.5, "0.9", True, float("nan")),
    "min_p": (-0.1, 1, "0"),
    "max_new_tokens": (0, -5, 12.0, "12", True),
    "do_sample": (1, "true", []),
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD_DEFAULTS.items() for value in values]
)
def test_defaults_that_cannot_be_are_refused_by_name(release, tmp_path: Path, name, value) -> None:
    release.edit_generation(**{name: value})
    with pytest.raises(InputError, match=rf"generation_config.json cannot be used\n  {name} is "):
        convert(release.folder, tmp_path / "out")


def test_every_bad_default_is_listed(release) -> None:
    release.edit_generation(temperature="hot", top_p=7)
    with pytest.raises(InputError) as caught:
        Checkpoint.open(release.folder)
    assert len(caught.value.details) == 2


@pytest.mark.parametrize("text", ["{", "[]", "11", "\xff"])
def test_a_file_that_is_no_object_is_refused(release, text: str) -> None:
    (release.folder / "generation_config.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"generation_config\.json"):
        Checkpoint.open(release.folder)


def defaults(folder: Path, **stated: object) -> GenerationDefaults:
    (folder / "generation_config.json").write_text(json.dumps(stated), encoding="utf-8")
    return GenerationConfig.read(folder).defaults


def test_sampling_defaults_count_where_the_file_samples(tmp_path: Path) -> None:
    found = defaults(tmp_path, do_sample=True, temperature=0.6, top_p=0.95, top_k=20, min_p=0.1, max_new_tokens=64)
    assert found.sampling == {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.1}
    assert (found.max_new_tokens, found.ignored) == (64, ())


def test_a_file_that_samples_and_says_no_temperature_means_1(tmp_path: Path) -> None:
    assert defaults(tmp_path, do_sample=True).sampling == {"temperature": 1.0}


@pytest.mark.parametrize("samples", [{}, {"do_sample": False}, {"do_sample": None}])
def test_sampling_defaults_are_named_as_ignored_where_it_does_not(tmp_path: Path, samples: dict) -> None:
    found = defaults(tmp_path, temperature=0.6, top_k=20, **samples)
    assert found.sampling == {}
    assert found.ignored == ("temperature 0.6 (do_sample is not true)", "top_k 20 (do_sample is not true)")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("repetition_penalty", 1.1), ("no_repeat_ngram_size", 3), ("bad_words_ids", [[5]]), ("num_beams", 4),
        ("max_length", 4096), ("min_new_tokens", 4), ("stop_strings", ["a"]), ("suppress_tokens", [7]),
        ("forced_eos_token_id", 11), ("something_new", "on"), ("repetition_penalty", 0.0),
    ],
)  # fmt: skip
def test_what_has_no_effect_is_named_with_its_value(tmp_path: Path, name: str, value: object) -> None:
    found = defaults(tmp_path, **{name: value})
    assert found.ignored == (f"{name} {value}",)
    assert found.notes == [f"without effect in generation_config.json: {name} {value}"]


@pytest.mark.parametrize(
    "stated",
    [
        {"repetition_penalty": 1.0, "num_beams": 1, "max_length": 20, "no_repeat_ngram_size": 0, "bad_words_ids": None},
        {"bos_token_id": 1, "eos_token_id": [11, 27], "pad_token_id": 0, "transformers_version": "5.0.0"},
        {"_from_model_config": True, "use_cache": False, "do_sample": False},
        {},
    ],
)
def test_values_that_ask_for_nothing_are_not_mentioned(tmp_path: Path, stated: dict) -> None:
    assert defaults(tmp_path, **stated).notes == []


def test_dict_round_trip_of_the_defaults_is_lossless(tmp_path: Path) -> None:
    found = defaults(tmp_path, do_sample=True, temperature=0.6, top_k=20, max_new_tokens=9, num_beams=4)
    assert GenerationDefaults.from_dict(json.loads(json.dumps(found.to_dict()))) == found

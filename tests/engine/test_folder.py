# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""An engine folder is what it was when it was built, or it is refused by name."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from nld_trt.engine.folder import EngineFolder
from nld_trt.errors import InputError


@pytest.fixture
def copy(engine, tmp_path):
    target = tmp_path / "engine"
    shutil.copytree(engine("tiny-a").path, target)
    return target


def edit_manifest(folder, **changes):
    path = folder / "engine.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def test_manifest_survives_a_round_trip(engine):
    manifest = engine("tiny-a").manifest
    assert type(manifest).from_dict(json.loads(json.dumps(manifest.to_dict()))) == manifest


def test_changed_byte_is_named(copy):
    weights = copy / "ort" / "model.weights"
    data = bytearray(weights.read_bytes())
    data[1234] ^= 1
    weights.write_bytes(data)
    with pytest.raises(InputError, match=r"ort/model.weights has changed"):
        EngineFolder.open(copy)


def test_missing_and_truncated_files_are_all_listed(copy):
    (copy / "generation_config.json").unlink()
    model = copy / "ort" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"(?s)generation_config.json is missing.*model.onnx has"):
        EngineFolder.open(copy)


def test_other_schema_version_is_refused(copy):
    edit_manifest(copy, schema_version=99)
    with pytest.raises(InputError, match="schema version 99"):
        EngineFolder.open(copy)


def test_tokenizer_that_was_dropped_in_is_refused(copy):
    (copy / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"tokenizer.json was not built with this engine"):
        EngineFolder.open(copy)


def test_backend_files_must_be_listed(copy):
    edit_manifest(copy, files={})
    with pytest.raises(InputError, match="not among the engine's files"):
        EngineFolder.open(copy)


def test_limits_of_another_type_are_refused(copy):
    limits = json.loads((copy / "engine.json").read_text(encoding="utf-8"))["limits"]
    edit_manifest(copy, limits=limits | {"max_batch_size": "8"})
    with pytest.raises(InputError, match="whole numbers"):
        EngineFolder.open(copy)


def test_other_contract_version_is_refused(copy):
    edit_manifest(copy, contract={"version": 0})
    with pytest.raises(InputError, match="step contract 0"):
        EngineFolder.open(copy)


def test_file_names_that_leave_the_folder_are_refused(copy):
    files = json.loads((copy / "engine.json").read_text(encoding="utf-8"))["files"]
    edit_manifest(copy, files=files | {"../secret": {"sha256": "0", "size": 0}})
    with pytest.raises(InputError, match="secret"):
        EngineFolder.open(copy)


def test_folder_that_is_no_engine_says_how_to_build_one(tmp_path):
    with pytest.raises(InputError, match="nld-trt build"):
        EngineFolder.open(tmp_path)


def test_backend_that_was_not_built_is_named(engine):
    with pytest.raises(InputError, match="no trt-rtx backend; it has ort"):
        engine("tiny-a").open_session("trt-rtx")


def test_checkpoint_in_the_place_of_an_engine_is_told_what_comes_first(converted, goldens):
    checkpoint = converted("tiny-a")
    with pytest.raises(InputError, match=re.escape(f"nld-trt build {checkpoint} -o ENGINE_DIR")):
        EngineFolder.open(checkpoint)
    with pytest.raises(InputError, match=re.escape(f"nld-trt convert {goldens / 'tiny-a'} -o DIR")):
        EngineFolder.open(goldens / "tiny-a")

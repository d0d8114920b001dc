# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A cost table lies beside its engine, and is never that of another engine or device."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from nld_trt.decode.auto.costs import Origin, grid
from nld_trt.decode.auto.stored import TablePlace, engine_identity
from nld_trt.engine.folder import EngineFolder

TABLE = grid((1, 2), (1, 8), lambda rows, width: 1e-3 * rows * width, Origin("e", "d"))


@pytest.fixture
def folder(engine) -> EngineFolder:
    return engine("tiny-a", fresh=True)


@pytest.fixture
def place(folder) -> TablePlace:
    return TablePlace.of(folder, "ort", gpu=False)


def test_a_stored_table_is_loaded(place):
    assert place.load() is None
    assert place.store(TABLE) == place.path
    assert place.load() == TABLE


def test_an_engine_with_a_table_is_still_intact(folder, place):
    place.store(TABLE)
    assert EngineFolder.open(folder.path).manifest == folder.manifest


@pytest.mark.parametrize(
    "change", [{"engine": "f" * 64}, {"device": "another"}, {"highest_clocks": (1980, 700.0)}, {"backend": "torch"}]
)
def test_another_engine_or_device_has_another_file(place, change):
    place.store(TABLE)
    assert replace(place, **change).load() is None


def test_an_engine_is_known_by_the_files_that_it_runs(engine, folder):
    assert engine_identity(folder, "ort") == engine_identity(EngineFolder.open(folder.path), "ort")
    assert engine_identity(folder, "ort") != engine_identity(engine("tiny-b"), "ort")


def test_clocks_of_a_gpu_belong_to_the_place(folder):
    gpu = {"name": "NVIDIA B200", "max_sm_clock_mhz": 1965, "power_limit_w": 1000.0}
    facts = {"gpus": [gpu], "cpu": "c", "cpu_cores": 1}
    found = TablePlace.of(folder, "ort", gpu=True, facts=facts)
    slower = TablePlace.of(folder, "ort", gpu=True, facts={**facts, "gpus": [{**gpu, "power_limit_w": 600.0}]})
    assert (found.device, found.highest_clocks) == ("NVIDIA B200", (1965, 1000.0))
    assert found.path != slower.path


def test_a_damaged_table_is_not_used_and_the_log_says_so(place, caplog):
    place.path.write_text('{"schema_version": 1}', encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert place.load() is None
    assert "is not used" in caplog.text


def test_a_table_that_cannot_be_written_stays_in_memory(place, caplog, tmp_path):
    with caplog.at_level(logging.WARNING):
        assert replace(place, folder=tmp_path / "gone").store(TABLE) is None
    assert "stays in memory" in caplog.text

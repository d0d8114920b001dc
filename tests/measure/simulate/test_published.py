# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Published tables say what was published, and which of their points were derived, and how."""

from __future__ import annotations

import json

import pytest

from nld_trt import names
from nld_trt.decode.auto.shapes import PUBLISHED
from nld_trt.errors import InputError
from nld_trt.measure.simulate.published import acceptance_shape, cost_table

# Output tokens/s over users on B200, end to end: Qwen3-8B in ar, and the pre-release 8B in linear with blocks of 32.
AR_RATES = {1: 222, 2: 424, 4: 834, 8: 1599, 16: 3027, 32: 5317, 64: 7906, 128: 11774}
LINEAR_RATES = {1: 440, 2: 777, 4: 1317, 8: 2204, 16: 3069, 32: 3651, 64: 4024, 128: 4230}
# Milliseconds of one forward of the 8B by graph replay, by block length and rows.
REPLAYED = {
    8: {1: 4.98, 8: 8.56, 32: 11.24, 64: 15.36, 128: 24.27},
    16: {1: 5.12, 8: 9.37, 16: 12.20, 128: 38.4},
    32: {1: 5.58, 2: 6.58, 4: 9.47, 8: 10.74, 16: 14.65, 32: 20.90, 64: 35.37, 128: 66.22},
}


def points(name: str) -> dict[tuple[int, int], float]:
    return {(point.width, point.rows): point.seconds for point in cost_table(name).points}


PUBLISHED_TABLES = [name for name in names.INCLUDED_TABLES if name.startswith("published")]


@pytest.mark.parametrize("name", PUBLISHED_TABLES)
def test_every_point_has_its_source(name):
    table = cost_table(name)
    assert "B200" in table.origin.source
    assert all(point.note for point in table.points)
    assert {point.evidence for point in table.points if point.width == 1} == {"derived"}


def test_replayed_forwards_are_as_published():
    expected = {(width, rows): ms / 1e3 for width, times in REPLAYED.items() for rows, ms in times.items()}
    table = cost_table("published-b200")
    measured = {(point.width, point.rows): point.seconds for point in table.points if point.evidence == "measured"}
    assert measured == pytest.approx(expected)


def test_every_point_of_the_measured_table_was_measured_on_the_gpu_that_it_names():
    table = cost_table("measured-h200")
    assert table.origin.device == "NVIDIA H200"
    assert {point.evidence for point in table.points} == {"measured"}


@pytest.mark.parametrize("name", PUBLISHED_TABLES)
def test_one_token_per_row_is_derived_from_the_published_rates(name):
    found = {rows: rows / seconds for (width, rows), seconds in points(name).items() if width == 1}
    assert found == pytest.approx(AR_RATES, rel=1e-4)


def test_served_blocks_of_32_make_the_published_rates():
    """At 6.72 tokens per round of two forwards."""
    found = {
        rows: rows * 6.72 / (2 * each) for (width, rows), each in points("published-b200-served").items() if width == 32
    }
    assert found == pytest.approx(LINEAR_RATES, rel=1e-4)


def test_served_shorter_blocks_are_scaled_as_blocks_of_32_are():
    replayed, served = points("published-b200"), points("published-b200-served")
    for (width, rows), seconds in replayed.items():
        if width in (8, 16):
            scale = served[32, rows] / replayed[32, rows]
            assert served[width, rows] == pytest.approx(seconds * scale, rel=1e-4)


def test_an_unknown_table_names_those_that_are_included():
    with pytest.raises(
        InputError, match=r"published-b200, published-b200-served, measured-h200\n.*bench loop ENGINE_DIR --table"
    ):
        cost_table("gb300")


def test_acceptance_is_a_workload_a_mean_or_a_histogram(tmp_path):
    histogram = tmp_path / "counts.json"
    histogram.write_text(json.dumps({"counts": [2, 0, 2]}), encoding="utf-8")
    assert acceptance_shape("qa") is PUBLISHED["qa"]
    assert acceptance_shape("5.5").expected(32) == pytest.approx(5.5)
    assert acceptance_shape(str(histogram)).expected(3) == 2.0


@pytest.mark.parametrize(
    ("content", "message"),
    [("{}", "no histogram"), ('{"counts": [0, 0]}', "no histogram"), ('{"counts": [1.5]}', "no histogram")],
)
def test_a_file_without_counts_is_refused(tmp_path, content, message):
    path = tmp_path / "counts.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        acceptance_shape(str(path))


@pytest.mark.parametrize(("asked", "message"), [("poetry", "workloads are speed-bench"), ("0.5", "from 1 to 32")])
def test_acceptance_that_is_nothing_is_refused(asked, message):
    with pytest.raises(InputError, match=message):
        acceptance_shape(asked)

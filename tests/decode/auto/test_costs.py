# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A cost table says what was measured, and something sensible about the rest."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nld_trt.decode.auto.costs import CostPoint, CostTable, Origin, assumed
from nld_trt.errors import InputError

ORIGIN = Origin(
    "engine", "device", "ort", "fp32", "nld-trt bench loop", "today", 64, None, {"cpu_mhz": [1.0]}, {"a": "1"}
)


def table(*points: tuple[int, int, float]) -> CostTable:
    return CostTable(tuple(CostPoint(*point) for point in points), ORIGIN)


PLACES = st.dictionaries(
    st.tuples(st.integers(1, 64), st.integers(1, 32)), st.floats(1e-4, 1.0), min_size=1, max_size=12
)


@settings(max_examples=200)
@example({(1, 1): 0.5, (1, 2): 1.0, (2, 1): 1.0}, 1, 3)  # the slope beyond the widest forward falls with rows
@given(PLACES, st.integers(1, 300), st.integers(1, 600))
def test_time_never_falls_with_rows_or_width(places, rows, width):
    found = table(*((*place, seconds) for place, seconds in places.items()))
    here = found.seconds(rows, width)
    assert here > 0
    assert found.seconds(rows + 1, width) >= here * (1 - 1e-9)
    assert found.seconds(rows, width + 1) >= here * (1 - 1e-9)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=4, unique=True))
def test_points_that_grow_are_returned_as_they_are(rows):
    points = [(count, width, 1e-3 * count * width) for count in rows for width in (1, 8, 32)]
    found = table(*points)
    for count, width, seconds in points:
        assert found.seconds(count, width) == pytest.approx(seconds)


def test_between_points_it_is_linear_and_beyond_them_the_last_slope_goes_on():
    found = table((1, 1, 1.0), (3, 1, 2.0), (1, 9, 2.0), (3, 9, 4.0))
    assert found.seconds(2, 1) == 1.5
    assert found.seconds(5, 1) == 3.0
    assert found.seconds(1, 5) == 1.5
    assert found.seconds(2, 5) == 2.25
    assert found.seconds(1, 17) == 3.0


def test_a_width_with_points_of_its_own_rows_is_enough():
    """Published tables have other rows at each width."""
    found = table((1, 1, 1.0), (8, 1, 1.7), (4, 8, 3.0))
    assert found.seconds(4, 8) == 3.0
    assert found.seconds(8, 8) == 3.0
    assert found.seconds(1, 8) == 3.0


def test_a_table_survives_json():
    found = CostTable(
        (CostPoint(1, 1, 0.5), CostPoint(2, 8, 0.7, "derived", "from rates")), ORIGIN
    )  # fmt: skip
    again = CostTable.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found
    assert found.to_dict()["schema_version"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema version 2"),
        ({"points": []}, "no points"),
        ({"points": [{"rows": 1, "width": 1}]}, "seconds"),
        ({"points": [{"rows": 1, "width": 1, "seconds": -1.0}]}, "above 0, not -1.0"),
        ({"points": [{"rows": 1, "width": 1, "seconds": float("nan")}]}, "above 0, not nan"),
        ({"points": [{"rows": 0, "width": 1, "seconds": 1.0}]}, "whole numbers from 1"),
        ({"points": [{"rows": 1, "width": 1, "seconds": 1.0, "evidence": "guessed"}]}, "'guessed'"),
        ({"points": [{"rows": 1, "width": 1, "seconds": 1.0}] * 2}, "two points"),
        ({"origin": {"device": "x"}}, "engine"),
    ],
)
def test_what_is_no_table_is_refused_by_name(change, message):
    values = {"schema_version": 1, "origin": {"engine": "e", "device": "d"}, "points": []}
    points = [{"rows": 1, "width": 1, "seconds": 1.0}]
    with pytest.raises(InputError, match=message):
        CostTable.from_dict({**values, "points": points, **change})


def test_an_unreadable_file_says_how_to_measure_one(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.json.*\n.*bench loop ENGINE_DIR --table"):
        CostTable.read(tmp_path / "nothing.json")


def test_an_assumed_table_is_flat_up_to_the_knee():
    found = assumed(128, (1, 8, 32))
    assert found.seconds(1, 1) == found.seconds(128, 1) == found.seconds(32, 8) == found.seconds(8, 32)
    assert found.seconds(16, 32) == pytest.approx(2 * found.seconds(8, 32))

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Axes, labels and drawings of charts."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nld_trt.measure.report import figures, styles
from nld_trt.measure.report.chart import Places, Rule, axis_over, number, users_axis
from nld_trt.measure.report.frontier import crossovers
from nld_trt.measure.report.measured import Measurement
from nld_trt.measure.report.svg import svg
from tests.measure.report.sweep_rows import ROWS, row

POINTS = tuple(Measurement(each, "run", "points/x.json") for each in ROWS)
GROUP = figures.Group("", "nld-8b", "nld-8b", POINTS)


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=8))
def test_an_axis_holds_its_values_and_has_ticks(values):
    axis = axis_over("tokens/s", values)
    assert all(0 <= axis.place(value) <= 1 for value in values)
    assert len(axis.ticks) >= 2 or axis.logarithmic
    assert all(-1e-9 <= axis.place(tick) <= 1 + 1e-9 for tick in axis.ticks)


@pytest.mark.parametrize(("values", "logarithmic"), [([10, 190], False), ([10, 210], True), ([0, 500], False)])
def test_the_range_decides_on_a_logarithmic_axis(values, logarithmic):
    assert axis_over("tokens/s", values).logarithmic is logarithmic


def test_users_are_ticks():
    assert users_axis([1, 2, 4, 8, 128]).ticks == (1, 2, 4, 8, 128)
    assert not users_axis([3]).logarithmic
    assert not users_axis([1, 2, 4]).logarithmic


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.5, "0.5"), (12.34, "12.3"), (3.0, "3"), (99.96, "100"), (12345.6, "12,346")]
)
def test_numbers_have_three_digits_that_count(value, text):
    assert number(value) == text


def test_labels_that_are_needed_find_a_place_beside_each_other():
    places = Places(0, 0, 400, 300)
    found = [places.near(200, 150, 20, 10, needed=True) for _ in range(6)]
    for (left, top), (right, bottom) in combinations(found, 2):
        assert abs(left - right) >= 20 - 1e-6 or abs(top - bottom) >= 10 - 1e-6


def test_a_label_without_room_is_left_out():
    places = Places(0, 0, 400, 300)
    places.take(200, 150, 300, 200)
    assert places.near(200, 150, 20, 10, needed=False) is None
    assert places.near(200, 150, 20, 10, needed=True) is not None


def test_series_can_be_told_apart_without_colour():
    looks = styles.styles(["ar", "linear", "linear", "diffusion", "quadratic", "auto", "ar", "linear-no-lora"])
    assert len({(look.colour, look.shape, look.dashed) for look in looks}) == len(looks)
    assert len({(look.shape, look.dashed) for look in looks[:2]}) == 2


@given(st.text(min_size=1))
def test_a_drawing_is_well_formed_whatever_a_name_is(name):
    chart = figures.throughput(GROUP, crossovers(POINTS), None)
    clean = "".join(letter for letter in name if letter.isprintable())
    ElementTree.fromstring(
        svg(replace(chart, title=clean, lines=tuple(replace(line, name=clean) for line in chart.lines)))
    )


def test_the_legend_is_below_the_data():
    root = ElementTree.fromstring(svg(figures.throughput(GROUP, crossovers(POINTS), None)))
    texts = {text.text: float(text.get("y")) for text in root.iter("{http://www.w3.org/2000/svg}text")}
    title = next(y for text, y in texts.items() if text.startswith("users"))
    assert all(texts[name] > title for name in ("ar", "auto", "linear, block 32", "AR overtakes"))


@given(st.floats(0, 1))
def test_the_words_of_a_rule_stay_within_the_plot(place):
    chart = figures.throughput(GROUP, crossovers(POINTS), None)
    users = chart.x.low * (chart.x.high / chart.x.low) ** place
    root = ElementTree.fromstring(svg(replace(chart, rules=(Rule(users, "AR best from about 2.9 users on"),))))
    rows = [text for text in root.iter("{http://www.w3.org/2000/svg}text") if text.get("font-weight")]
    assert " ".join(text.text for text in rows) == "AR best from about 2.9 users on"
    for text in rows:
        ends = (0, 1) if text.get("text-anchor") == "start" else (-1, 0)
        left, right = (float(text.get("x")) + end * 7 * len(text.text) for end in ends)
        assert left >= 58
        assert right <= 480 - 22


def test_auto_is_wide_and_black_and_drawn_first():
    chart = figures.throughput(GROUP, (), None)
    assert (chart.lines[0].name, chart.lines[0].style.wide, chart.lines[0].style.colour) == ("auto", True, "#000000")


def test_beaten_points_are_faded_and_the_others_are_on_the_frontier():
    chart = figures.pareto([GROUP], per_gpu=True)
    marks = {(mark.x, mark.y): mark.faded for line in chart.lines for mark in line.marks}
    assert {place for place, faded in marks.items() if not faded} == set(chart.frontier)
    assert marks[1400 / 16, 1400] is False
    assert marks[100, 100] is True
    assert {mark.label for line in chart.lines for mark in line.marks} == {"1", "4", "8", "16"}


def test_output_is_told_by_gpu():
    group = replace(GROUP, points=(Measurement(row("ar", 4, 800.0, gpus=2), "run", "file"),))
    (line,) = figures.pareto([group], per_gpu=True).lines
    assert line.marks[0].y == 400
    assert figures.pareto([group], per_gpu=False) is None


def test_the_crossing_lies_on_both_lines():
    (found,) = crossovers(POINTS)
    # Between 8 and 16 users AR doubles from 700 and linear goes from 1000 to 1100.
    part = math.log(found.users / 8) / math.log(2)
    assert 700 * 2**part == pytest.approx(found.rate)
    assert 1000 * 1.1**part == pytest.approx(found.rate)

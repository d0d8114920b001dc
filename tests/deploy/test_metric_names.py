# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Every metric that a dashboard, a chart, an alert or a page names exists, with the labels that the query uses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nld_trt.serving.metrics import FAMILIES, Family
from nld_trt.serving.openai.metrics import FAMILIES as FRONT_FAMILIES

KNOWN = {**FAMILIES, **FRONT_FAMILIES}
# Every series has these: the first from the server, the others from Prometheus.
ALWAYS = {"model", "namespace", "service", "pod", "job", "instance"}
# Names of the package and of its folders look alike and are none.
METRIC = re.compile(r"\bnld_(?!trt\b)[a-z_]+\b")


def series(name: str) -> Family | None:
    """The family of a series; a histogram has series of its own."""
    if name in KNOWN:
        return KNOWN[name]
    stem, _, part = name.rpartition("_")
    family = KNOWN.get(stem)
    return family if family and family.kind == "histogram" and part in ("bucket", "sum", "count") else None


def files(root: Path) -> list[Path]:
    pages = [root / "docs" / "deploying.md", root / "docs" / "serving.md", root / "README.md"]
    return [*sorted(path for path in (root / "deploy").rglob("*") if path.is_file()), *pages]


def test_names_exist(root: Path) -> None:
    found = {name for path in files(root) for name in METRIC.findall(path.read_text(encoding="utf-8"))}
    assert len(found) > 20
    assert {name for name in found if series(name) is None} == set()


def queries(root: Path) -> list[str]:
    dashboard = json.loads((root / "deploy" / "grafana" / "nld-trt.json").read_text(encoding="utf-8"))
    page = (root / "docs" / "deploying.md").read_text(encoding="utf-8")
    told = re.findall(r"`((?:sum|histogram_quantile)[^`]*)`", page)
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    assert told
    assert shown
    return told + shown


def test_queries_are_balanced_and_group_by_labels_that_exist(root: Path) -> None:
    for query in queries(root):
        for opening, closing in ("()", "{}", "[]"):
            assert query.count(opening) == query.count(closing), query
        families = [series(name) for name in METRIC.findall(query)]
        labels = ALWAYS.union(*(family.labels for family in families if family))
        if "_bucket" in query:
            labels.add("le")
        grouped = {label.strip() for found in re.findall(r"by \(([^)]*)\)", query) for label in found.split(",")}
        assert grouped <= labels, query


def test_counters_and_histograms_are_read_as_rates_and_gauges_are_not(root: Path) -> None:
    for query in queries(root):
        for name in METRIC.findall(query):
            family = series(name)
            assert family is not None
            assert (f"rate({name}" in query) == (family.kind != "gauge"), query


@pytest.mark.parametrize("family", KNOWN)
def test_dashboard_shows_every_metric(root: Path, family: str) -> None:
    text = (root / "deploy" / "grafana" / "nld-trt.json").read_text(encoding="utf-8")
    assert family in {found.name for name in METRIC.findall(text) if (found := series(name))}


def test_dashboard_fills_its_rows(root: Path) -> None:
    panels = json.loads((root / "deploy" / "grafana" / "nld-trt.json").read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(places)) == len(places), "panels overlap"
    assert max(x for x, _ in places) < 24


def test_queue_time_of_triton_is_not_what_anything_scales_on(root: Path) -> None:
    for path in (root / "deploy").rglob("*.yaml"):
        assert "nv_inference_queue" not in path.read_text(encoding="utf-8")

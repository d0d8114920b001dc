# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""SPEED-Bench's report: how well drafts are accepted in each category of prompts."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from nld_trt.decode.figures import ACCEPTANCE_LENGTH, TOKENS_PER_FORWARD
from nld_trt.files import publish_file
from nld_trt.measure.aiperf.records import ServedRequest
from nld_trt.measure.aiperf.row import Drafts
from nld_trt.measure.sweep.report import series

CATEGORIES_CSV: Final = "categories.csv"
COLUMNS: Final = (
    "category", "mode", "block_length", "concurrency", "requests", "output_tokens", "tokens_per_forward",
    "acceptance_length",
)  # fmt: skip


def sums_of(requests: Iterable[ServedRequest], categories: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the sums of each category, for the file of a point; nothing without categories.

    Args:
        categories: by the id of a conversation.
    """
    found: dict[str, list[ServedRequest]] = {}
    for request in requests if categories else ():
        found.setdefault(categories[request.conversation], []).append(request)
    return {name: asdict(Drafts.of(found[name])) for name in sorted(found)}


def category_rows(points: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each category of each point, from the points' files."""
    return [
        {
            "category": category,
            **{name: point["row"][name] for name in ("mode", "block_length", "concurrency")},
            "requests": sums["requests"],
            "output_tokens": sums["tokens"],
            TOKENS_PER_FORWARD.name: _rounded(Drafts(**sums).tokens_per_forward),
            ACCEPTANCE_LENGTH.name: _rounded(Drafts(**sums).acceptance_length),
        }
        for point in points
        for category, sums in point.get("categories", {}).items()
    ]


def write_categories(rows: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """Write the rows into ``folder``, and return the path."""
    with publish_file(folder / CATEGORIES_CSV) as work, work.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return folder / CATEGORIES_CSV


def category_table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return column titles and cells for the terminal: categories × modes, at the lowest concurrency of each mode.

    The acceptance length of greedy requests does not depend on concurrency.
    """
    shown: dict[tuple[str, str], Mapping[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["concurrency"]):
        shown.setdefault((row["category"], series(row)), row)
    modes = list(dict.fromkeys(series(row) for row in rows))
    figure = ACCEPTANCE_LENGTH
    cells = [
        [category, *(figure.text((shown.get((category, mode)) or {}).get(figure.name)) for mode in modes)]
        for category in sorted({row["category"] for row in rows})
    ]
    return ["category", *modes], cells


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 6)

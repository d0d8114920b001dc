# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What simulated settings are shown as: a table with a line for each load, JSON, CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from nld_trt.files import publish_file, write_json
from nld_trt.measure.simulate.study import SCHEMA_VERSION, Row, Study
from nld_trt.names import AUTO

SUMMARY_JSON: Final = "simulate.json"
SUMMARY_CSV: Final = "simulate.csv"


@dataclass(frozen=True)
class Comparison:
    """The settings under one load. ``best`` and ``worst`` are fixed ones."""

    load: int | str
    auto: Row
    best: Row
    worst: Row

    @property
    def against_best(self) -> float:
        """Rate of the controller over that of the best fixed setting, less 1."""
        return self.auto.rate / self.best.rate - 1

    @property
    def against_worst(self) -> float:
        return self.auto.rate / self.worst.rate - 1

    def to_dict(self) -> dict[str, Any]:
        return {
            "load": self.load,
            "best_fixed": self.best.setting,
            "worst_fixed": self.worst.setting,
            "auto_against_best": round(self.against_best, 5),
            "auto_against_worst": round(self.against_worst, 5),
        }


def comparisons(rows: Sequence[Row]) -> list[Comparison]:
    """One for each load, in the order of ``rows``."""
    found = []
    for load in dict.fromkeys(row.load for row in rows):
        fixed = [row for row in rows if row.load == load and row.setting != AUTO]
        (auto,) = (row for row in rows if row.load == load and row.setting == AUTO)
        best, worst = max(fixed, key=lambda row: row.rate), min(fixed, key=lambda row: row.rate)
        found.append(Comparison(load, auto, best, worst))
    return found


def terminal_table(rows: Sequence[Row], load_title: str) -> tuple[list[str], list[list[str]]]:
    """Column titles and cells: the rate of every setting, and how the controller's compares with the best fixed one."""
    settings = list(dict.fromkeys(row.setting for row in rows))
    rates = {(row.load, row.setting): row.rate for row in rows}
    titles = [load_title, *settings, "auto against best", "switches", "auto used"]
    cells = [
        [
            str(found.load),
            *(_marked(rates[found.load, name], found.best.setting == name) for name in settings),
            f"{found.against_best:+.1%}",
            str(found.auto.switches),
            _used(found.auto),
        ]
        for found in comparisons(rows)
    ]
    return titles, cells


def _marked(rate: float, best: bool) -> str:
    return f"{rate:.0f}" + (" *" if best else "")


def _used(row: Row) -> str:
    """How the controller made its tokens, the largest part first; less than 1 % is left out."""
    parts = sorted(row.tokens_by_candidate.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {count / row.tokens:.0%}" for name, count in parts if count >= 0.01 * row.tokens)


def summary(study: Study, rows: Sequence[Row], origin: Mapping[str, Any]) -> dict[str, Any]:
    """All of a study as plain data."""
    return {
        "schema_version": SCHEMA_VERSION,
        **origin,
        "table": asdict(study.table.origin),
        "acceptance": study.shape.source,
        "expected_at_first": study.expected.source,
        "max_rows": study.max_rows,
        "seed": study.seed,
        "comparisons": [found.to_dict() for found in comparisons(rows)],
        "rows": [row.to_dict() for row in rows],
    }


def write(folder: Path, found: Mapping[str, Any]) -> list[Path]:
    """Write the summary as JSON, and its rows as CSV, into ``folder``, which is made. Returns their paths.

    Raises:
        InputError: they cannot be written there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with publish_file(folder / SUMMARY_JSON) as work:
        write_json(work, found)
    rows = [{**row, "tokens_by_candidate": _in_words(row["tokens_by_candidate"])} for row in found["rows"]]
    with publish_file(folder / SUMMARY_CSV) as work, work.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return [folder / SUMMARY_JSON, folder / SUMMARY_CSV]


def _in_words(counts: Mapping[str, int]) -> str:
    return "; ".join(f"{name} {count}" for name, count in counts.items())

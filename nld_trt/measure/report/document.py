# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A report before it is a page or Markdown: sections with sentences, charts and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nld_trt.measure.report.chart import Chart


@dataclass(frozen=True)
class Cell:
    """What a table has in one place: a text, and the number that it is sorted by if it stands for one."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        note: a sentence below it: where its numbers are from.
        folded: shown only when it is asked for.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    folded: bool = False

    def numeric(self, column: int) -> bool:
        """Whether a column has numbers only."""
        cells = [row[column] for row in self.rows]
        return any(cell.value is not None for cell in cells) and all(
            cell.value is not None or cell.text in ("", "–") for cell in cells
        )


@dataclass(frozen=True)
class Section:
    """A part of a report with a heading. ``code`` are lines that are shown as they are."""

    name: str
    title: str
    paragraphs: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    code: tuple[str, ...] = ()


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        about: what was measured, in a line.
        findings: the most important sentences.
        data: its numbers as flat records, for a CSV file.
        made: the command and the time that made it, in words.
    """

    title: str
    about: str
    findings: tuple[str, ...]
    sections: tuple[Section, ...]
    data: tuple[Mapping[str, object], ...]
    made: str = ""

    @property
    def charts(self) -> Sequence[Chart]:
        return [chart for section in self.sections for chart in section.charts]

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A report as Markdown, for a merge request or a wiki."""

from __future__ import annotations

import re
from collections.abc import Iterator

import nld_trt
from nld_trt.measure.report.document import Document, Section, Table


def markdown(document: Document, pictures: str | None = None) -> str:
    """The whole report.

    Args:
        pictures: the folder of the charts, as the file sees it; None leaves the charts out.
    """
    return "\n".join(_parts(document, pictures)) + "\n"


def _parts(document: Document, pictures: str | None) -> Iterator[str]:
    yield f"# {_text(document.title)}\n\n{_text(document.about)}\n"
    yield from (f"- {_text(line)}" for line in document.findings)
    for section in document.sections:
        yield from _section(section, pictures)
    yield f"\nnld-trt {nld_trt.__version__}" + (f", {_text(document.made)}" if document.made else "")


def _section(section: Section, pictures: str | None) -> Iterator[str]:
    yield f"\n## {_text(section.title)}\n"
    yield from (f"{_text(text)}\n" for text in section.paragraphs)
    if pictures is not None:
        yield from (f"![{_text(chart.title)}]({pictures}/{chart.name}.svg)\n" for chart in section.charts)
    for table in section.tables:
        yield from _table(table)
    if section.code:
        yield from ("```", *section.code, "```")


def _table(table: Table) -> Iterator[str]:
    yield f"### {_text(table.title)}\n"
    yield _line(table.columns)
    yield "|" + "|".join("--:" if table.numeric(column) else "---" for column in range(len(table.columns))) + "|"
    yield from (_line([cell.text for cell in row]) for row in table.rows)
    yield f"\n{_text(table.note)}\n" if table.note else ""


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(_text(cell) for cell in cells) + " |"


def _text(text: str) -> str:
    """The text without what Markdown would read as a mark; a line break would end a row of a table."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text.replace("\n", " "))

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A report as one HTML file: pictures, style and script are inside, and nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Final

import nld_trt
from nld_trt.measure.report.document import Document, Section, Table
from nld_trt.measure.report.svg import svg

_HERE: Final = Path(__file__).parent
# A column with a text longer than this is broken into lines.
_LONG: Final = 48
# Nothing may be fetched, even by a text of somebody else that was measured.
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def page(document: Document) -> str:
    """The whole page."""
    return "\n".join(_parts(document)) + "\n"


def _parts(document: Document) -> Iterator[str]:
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    # Without an icon of its own a page makes browsers ask for one.
    yield '<link rel="icon" href="data:,">'
    yield f"<title>{escape(document.title)}</title>"
    yield f"<style>\n{_file('page.css')}</style>\n</head>\n<body>"
    yield f'<h1>{escape(document.title)}</h1>\n<p class="about">{escape(document.about)}</p>'
    if document.findings:
        lines = "".join(f"<li>{escape(line)}</li>" for line in document.findings)
        yield f'<ul class="findings">{lines}</ul>'
    links = "".join(f'<a href="#{each.name}">{escape(each.title)}</a> ' for each in document.sections)
    yield f"<nav>{links}</nav>\n<main>"
    for section in document.sections:
        yield from _section(section)
    yield f"</main>\n<footer>nld-trt {escape(nld_trt.__version__)}{escape(_made(document))}</footer>"
    yield f"<script>\n{_file('page.js')}</script>\n</body>\n</html>"


def _section(section: Section) -> Iterator[str]:
    yield f'<section id="{section.name}">\n<h2>{escape(section.title)}</h2>'
    yield from (f"<p>{escape(text)}</p>" for text in section.paragraphs)
    if section.charts:
        yield '<div class="charts">'
        for chart in section.charts:
            yield f"<figure>{svg(chart)}<figcaption>{escape(chart.title)}</figcaption></figure>"
        yield "</div>"
    for table in section.tables:
        yield from _table(table)
    if section.code:
        yield f"<h3>Commands</h3>\n<pre>{escape(chr(10).join(section.code))}</pre>"
    yield "</section>"


def _table(table: Table) -> Iterator[str]:
    title = escape(table.title)
    yield f"<details><summary>{title}</summary>" if table.folded else f"<h3>{title}</h3>"
    numeric = [table.numeric(column) for column in range(len(table.columns))]
    wide = [any(len(row[column].text) > _LONG for row in table.rows) for column in range(len(table.columns))]
    yield '<div class="scroll"><table><thead><tr>'
    for name, is_number in zip(table.columns, numeric, strict=True):
        kind = ' class="number"' if is_number else ""
        yield f'<th{kind} scope="col" aria-sort="none"><button type="button">{escape(name)}</button></th>'
    yield "</tr></thead><tbody>"
    for row in table.rows:
        cells = []
        for cell, is_number, is_wide in zip(row, numeric, wide, strict=True):
            kind = ' class="number"' if is_number else ' class="wide"' if is_wide else ""
            value = "" if cell.value is None else f' data-value="{cell.value!r}"'
            cells.append(f"<td{kind}{value}>{escape(cell.text)}</td>")
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table></div>"
    if table.note:
        yield f'<p class="note">{escape(table.note)}</p>'
    if table.folded:
        yield "</details>"


def _made(document: Document) -> str:
    return f", {document.made}" if document.made else ""


def _file(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")

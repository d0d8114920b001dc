# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a report: one file by its ending, or a folder with all of its forms."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Final

from nld_trt.errors import InputError
from nld_trt.files import check_target, publish_file, publish_folder
from nld_trt.measure.report.document import Document
from nld_trt.measure.report.markdown import markdown
from nld_trt.measure.report.page import page
from nld_trt.measure.report.svg import svg

PAGE: Final = "report.html"
CHARTS: Final = "charts"


def records(document: Document) -> str:
    """The numbers as CSV; a column for every name that a record has."""
    names = list(dict.fromkeys(name for record in document.data for name in record))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(document.data)
    return text.getvalue()


FORMS: Final[dict[str, Callable[[Document], str]]] = {".html": page, ".md": markdown, ".csv": records}


def check_output(target: Path) -> None:
    """Refuse, before any work, where a report cannot be written.

    Raises:
        InputError: an ending of another kind of file, a taken folder, or a place that cannot be written.
    """
    if target.suffix in FORMS:
        if target.is_dir() or not target.absolute().parent.is_dir():
            what = "is a folder" if target.is_dir() else "lies in a folder that does not exist"
            raise InputError(f"The output file {target} {what}", fix="Choose another one with -o.")
    elif target.suffix:
        raise InputError(
            f"a report has no form {target.suffix}: {target}",
            fix=f"-o takes a file that ends with {', '.join(FORMS)}, or a folder for all of them and the pictures.",
        )
    else:
        check_target(target, force=True, marker=PAGE)


def write(document: Document, target: Path, *, pictures: bool) -> list[Path]:
    """Write the report, and return the paths of its files.

    Args:
        target: a file with an ending of ``FORMS``, or a folder, in which an earlier report is replaced.
        pictures: a folder also has the charts as PNG, which takes matplotlib.

    Raises:
        InputError: it cannot be written there.
        OperationError: the disk is full.
    """
    if target.suffix:
        with publish_file(target) as work:
            work.write_text(FORMS[target.suffix](document), encoding="utf-8", newline="")
        return [target]
    with publish_folder(target, force=True, marker=PAGE) as work:
        written = _fill(work, document, pictures)
    return [target / path for path in written]


def _fill(folder: Path, document: Document, pictures: bool) -> list[Path]:
    (folder / CHARTS).mkdir()
    texts = {PAGE: page(document), "report.md": markdown(document, CHARTS), "report.csv": records(document)}
    texts |= {f"{CHARTS}/{chart.name}.svg": svg(chart) + "\n" for chart in document.charts}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
    written = [Path(name) for name in texts]
    for chart in document.charts if pictures else ():
        from nld_trt.measure.report.png import write_png

        path = Path(CHARTS, f"{chart.name}.png")
        write_png(chart, folder / path)
        written.append(path)
    return written

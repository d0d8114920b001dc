# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The included cost tables, and what ``--table`` and ``--acceptance`` may name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from nld_trt.decode.auto.costs import CostTable
from nld_trt.decode.auto.shapes import PUBLISHED, PUBLISHED_BLOCK, Shape, of_mean
from nld_trt.errors import InputError
from nld_trt.files import read_json
from nld_trt.names import INCLUDED_TABLES

_FOLDER: Final = Path(__file__).parent / "tables"


def cost_table(asked: str) -> CostTable:
    """The table that ``asked`` names: one of ``names.INCLUDED_TABLES``, or a file.

    Raises:
        InputError: it is neither, or the file is no cost table.
    """
    if asked in INCLUDED_TABLES:
        return CostTable.read(_FOLDER / f"{asked}.json")
    if not Path(asked).is_file():
        raise InputError(
            f"--table {asked} is neither a file nor an included table; those are {', '.join(INCLUDED_TABLES)}",
            fix="Measure one: nld-trt bench loop ENGINE_DIR --table -o FILE",
        )
    return CostTable.read(Path(asked))


def acceptance_shape(asked: str, *, flag: str = "--acceptance") -> Shape:
    """The shape that ``asked`` names: a published workload, a mean acceptance length at blocks of 32, or a file.

    A file is a JSON object with ``counts``: how many rounds had the acceptance lengths 1, 2, ...; in the last entry are
    the rounds whose whole block was accepted.

    Args:
        flag: what was given the text, for messages.

    Raises:
        InputError: it is none of them, or the file has no such counts.
    """
    if asked in PUBLISHED:
        return PUBLISHED[asked]
    mean = _number(asked)
    if mean is not None:
        if not 1 <= mean <= PUBLISHED_BLOCK:
            raise InputError(f"{flag} is {asked}; a mean acceptance length is from 1 to {PUBLISHED_BLOCK}")
        return of_mean(mean)
    if not Path(asked).is_file():
        raise InputError(
            f"{flag} {asked} is neither a workload, a number nor a file; workloads are {', '.join(PUBLISHED)}"
        )
    return Shape.from_counts(_counts(read_json(Path(asked)), f"{flag} {asked}"), source=asked)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _counts(found: dict[str, Any], given: str) -> list[int]:
    counts = found.get("counts")
    if (
        not isinstance(counts, list)
        or not all(type(count) is int and count >= 0 for count in counts)
        or not any(counts)
    ):
        raise InputError(
            f"{given} has no histogram",
            fix='It must be an object with "counts", whole numbers that are not all 0: {"counts": [12, 7, 30]}.',
        )
    return counts

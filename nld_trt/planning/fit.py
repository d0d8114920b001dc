# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Fits the overheads of forwards to measured speeds: a small linear problem, whose unknowns are none below 0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final

from nld_trt.planning.figures import Figure
from nld_trt.planning.forward import OVERHEADS, Overheads

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vector = npt.NDArray[np.float64]

# Rounds of reweighting, and the relative error below which a figure counts like any other.
_ROUNDS: Final = 20
_SMALL_ERROR: Final = 0.03


def fit(figures: Iterable[Figure], *, without: Collection[str] = ()) -> Overheads:
    """The overheads that explain the figures of all platforms but those in ``without``.

    Relative errors count by about their absolute values, so that a figure which nothing explains has little to say. A
    platform counts by the square root of the number of its figures. An overhead that no figure speaks of is 0. Figures
    of engines of nld-trt are left out: they say how well the law foretells what it has not seen.
    """
    import numpy as np

    used = [
        each for each in figures if each.platform not in without and each.group != "engine" and any(each.units.values())
    ]
    terms = np.array([[each.units[name] / each.seconds for name in OVERHEADS] for each in used])
    wanted = np.array([1 - each.lawful / each.seconds for each in used])
    of_platform = Counter(each.platform for each in used)
    base = np.array([of_platform[each.platform] ** -0.25 for each in used])
    weights = base
    for _ in range(_ROUNDS):
        found = _least_squares(terms * weights[:, None], wanted * weights)
        errors = np.abs(terms @ found - wanted)
        weights = base / np.sqrt(np.maximum(errors, _SMALL_ERROR))
    return Overheads(**dict(zip(OVERHEADS, map(float, found), strict=True)))


def _least_squares(terms: Vector, wanted: Vector) -> Vector:
    """The least squares solution with no unknown below 0, found by leaving out the most negative ones."""
    import numpy as np

    kept = [column for column in range(terms.shape[1]) if terms[:, column].any()]
    found = np.zeros(terms.shape[1])
    while kept:
        solution, *_ = np.linalg.lstsq(terms[:, kept], wanted, rcond=None)
        if solution.min() >= 0:
            found[kept] = solution
            break
        kept.pop(int(solution.argmin()))
    return found

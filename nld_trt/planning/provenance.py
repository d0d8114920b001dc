# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Where a number is from. Every number of a plan says it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, get_args

# computed: follows from the shapes of the model. measured here: on a machine of the authors or of the user.
# published: somebody measured it. fitted: by a law whose parameters were fitted to measurements, others' or the
# authors'. data sheet: the vendor's figure, or one that is derived from it.
Provenance = Literal["computed", "measured here", "published", "fitted", "data sheet"]

COMPUTED: Final = "computed"
MEASURED: Final = "measured here"
PUBLISHED: Final = "published"
FITTED: Final = "fitted"
DATA_SHEET: Final = "data sheet"

_ORDER: Final[tuple[Provenance, ...]] = get_args(Provenance)


@dataclass(frozen=True)
class Value:
    """A number of a platform, in SI units."""

    value: float
    provenance: Provenance
    source: str


def weakest(found: Iterable[Provenance]) -> Provenance:
    """The provenance of a number that was computed from numbers of these.

    >>> weakest(["published", "fitted", "computed"])
    'fitted'
    """
    return max(found, key=_ORDER.index)

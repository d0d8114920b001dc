# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Compares predictions with every published and own measurement, each predicted without its platform.

What is fitted is fitted again for each platform, to the figures of the other platforms only. A law of products was
fitted to measurements of single products, and to none of these figures.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nld_trt import names
from nld_trt.planning.figures import Figure, figures
from nld_trt.planning.fit import fit
from nld_trt.planning.forward import OVERHEADS, Overheads

# The goal: the median of absolute errors, and the largest one without a reason.
GOAL_MEDIAN: Final = 0.10
GOAL_LARGEST: Final = 0.30


def _pre_release(figure: Figure) -> bool:
    return figure.group == "pre-release"


def _rows_of_blocks(figure: Figure) -> bool:
    return figure.group == "forward" and figure.block_length > 1 and figure.users > 1


# Reasons for errors above the goal, with the figures that they are for. The first that fits counts.
REASONS: Final[tuple[tuple[Callable[[Figure], bool], str], ...]] = (
    (
        _pre_release,
        "only this platform has figures of the pre-release server, which worked between forwards, more with each row",
    ),
    (
        lambda figure: figure.mode == names.AR and figure.users > 1,
        "only this platform has figures of a server with several users: prompts and its own work are in them",
    ),
    (
        _rows_of_blocks,
        "attention over several rows of blocks: on B200 a fixed time more in each layer, which H200 does not have",
    ),
    (
        lambda figure: figure.group == "forward" and figure.users > 1,
        "caches of many rows: other platforms have them in blocks, or with a server's work, where reading is slower",
    ),
    (
        lambda figure: figure.group == "product" and figure.precision == names.FP8,
        "the law's products quantize activations in a kernel before each, and this one got them quantized",
    ),
    (
        lambda figure: figure.group == "engine" and figure.precision == names.INT4,
        "the engine's INT4 products are bound by unpacking, and the law's by reading",
    ),
    (
        lambda figure: figure.group == "engine" and figure.precision == names.FP8,
        "published rounds with FP8 weights took longer than two forwards of one token; the engine's hardly do",
    ),
    (
        lambda figure: figure.group == "engine" and (figure.users > 1 or figure.context > 4096),
        "the law reads caches several times, as what was published does; the engine's attention reads them once",
    ),
    (
        lambda figure: figure.platform == names.RTX_PRO_6000 and figure.precision == names.FP8,
        "the ar rate that the same source implies, 80 tokens/s, is 0.6 of what reading the weights once allows",
    ),
)


@dataclass(frozen=True)
class Compared:
    """A figure and what is predicted for it, in the figure's unit.

    Attributes:
        predicted: with overheads fitted to other platforms only.
        in_sample: with those of all platforms, this one among them: what plan uses.
    """

    figure: Figure
    predicted: float
    in_sample: float

    @property
    def error(self) -> float:
        """Relative error of the prediction."""
        return self.predicted / self.figure.value - 1

    @property
    def in_sample_error(self) -> float:
        return self.in_sample / self.figure.value - 1

    @property
    def large(self) -> bool:
        """Whether the error reaches the goal, in whole percents."""
        return round(abs(self.error), 2) >= GOAL_LARGEST

    @property
    def reason(self) -> str:
        """Why the error is large; empty where it is not, or where nobody knows."""
        if not self.large:
            return ""
        return next((reason for fits, reason in REASONS if fits(self.figure)), "")

    def to_dict(self) -> dict[str, Any]:
        found = self.figure
        return {
            **{name: getattr(found, name) for name in _COLUMNS},
            "measured": found.value,
            "predicted": self.predicted,
            "error": self.error,
            "in_sample_error": self.in_sample_error,
            "reason": self.reason,
            "source": found.source,
        }


_COLUMNS: Final = (
    "group", "model", "platform", "precision", "mode", "block_length", "users", "context", "unit", "stack",
)  # fmt: skip


@dataclass(frozen=True)
class Validation:
    compared: tuple[Compared, ...]
    overheads: Overheads

    def median(self, chosen: Callable[[Figure], bool] = lambda figure: True, *, in_sample: bool = False) -> float:
        """The median of absolute errors of the figures that are ``chosen``."""
        return statistics.median(
            abs(each.in_sample_error if in_sample else each.error) for each in self.compared if chosen(each.figure)
        )

    @property
    def unexplained(self) -> tuple[Compared, ...]:
        """Large errors without a reason."""
        return tuple(each for each in self.compared if each.large and not each.reason)

    def spread(self, *, one_row: bool) -> tuple[float, float]:
        """The 10th and 90th percentile of measured over predicted rates, of forwards of one row or of more."""
        ratios = sorted(
            1 / (1 + each.error) if each.figure.unit == _RATE else 1 + each.error
            for each in self.compared
            if each.figure.group not in ("product", "engine") and (each.figure.users == 1) == one_row
        )
        tenths = statistics.quantiles(ratios, n=10, method="inclusive")
        return tenths[0], tenths[-1]

    def summary(self) -> list[tuple[str, int, float, float, int]]:
        """For each group of figures: name, number, median error, median error in sample, and large ones."""
        rows = []
        for name, chosen in GROUPS.items():
            members = [each for each in self.compared if chosen(each.figure)]
            large = sum(each.large for each in members)
            rows.append((name, len(members), self.median(chosen), self.median(chosen, in_sample=True), large))
        return rows

    def to_dict(self) -> dict[str, Any]:
        return {
            "goal": {"median": GOAL_MEDIAN, "largest_without_a_reason": GOAL_LARGEST},
            "groups": [dict(zip(_SUMMARY, row, strict=True)) for row in self.summary()],
            "overheads": self.overheads.to_dict(),
            "spread": {"one_row": self.spread(one_row=True), "more_rows": self.spread(one_row=False)},
            "figures": [each.to_dict() for each in self.compared],
        }


_RATE: Final = "tok/s"
_SUMMARY: Final = ("name", "count", "median_error", "median_error_in_sample", "large_errors")


def _published(figure: Figure) -> bool:
    return not figure.source.startswith("measured")


GROUPS: Final[dict[str, Callable[[Figure], bool]]] = {
    "all": lambda figure: True,
    "published": _published,
    "published, one user": lambda figure: _published(figure) and figure.users == 1,
    "served by a release": lambda figure: figure.group == "served",
    "served by the pre-release": _pre_release,
    "forwards, published": lambda figure: figure.group == "forward" and _published(figure),
    "forwards, measured by the authors": lambda figure: figure.group == "forward" and not _published(figure),
    "products, measured by the authors": lambda figure: figure.group == "product",
    "engines of nld-trt": lambda figure: figure.group == "engine",
}


def validate(found: Sequence[Figure] | None = None) -> Validation:
    """Predict every figure from the others' platforms, and from all of them. Takes tenths of a second."""
    used = figures() if found is None else tuple(found)
    everything = fit(used)
    without = {platform: fit(used, without=(platform,)) for platform in {each.platform for each in used}}
    return Validation(
        tuple(Compared(each, _predict(each, without[each.platform]), _predict(each, everything)) for each in used),
        everything,
    )


def _predict(figure: Figure, overheads: Overheads) -> float:
    """The figure's value, in its unit, by the laws and ``overheads``."""
    seconds: float = figure.lawful + sum(getattr(overheads, name) * figure.units[name] for name in OVERHEADS)
    ratio = figure.seconds / seconds
    return figure.value * ratio if figure.unit == _RATE else figure.value / ratio

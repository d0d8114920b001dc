# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Shapes of acceptance that were published: how probable it is that a draft is accepted up to each position.

A server that has decoded nothing yet expects one of these, and ``nld-trt simulate`` draws from them. What was published
are means, so that the form between them is an assumption. It is not geometric: where means at several block lengths
were published, hazards fall from position to position, and blocks of 8 make 51 to 55 % of the tokens of blocks of 32; a
geometric form would have it 72 %.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, repeat
from operator import mul
from typing import Final

# The longest block that has a published mean.
PUBLISHED_BLOCK: Final = 32
_STEPS_OF_BISECTION: Final = 60


@dataclass(frozen=True)
class Shape:
    """The distribution of the acceptance length A, 1 or more, of an endlessly long draft.

    Attributes:
        hazards: P(A = k | A >= k) for k = 1, 2, ...; the last one holds for every later position.
        source: what was published, and what of the form is an assumption.
    """

    hazards: tuple[float, ...]
    source: str = ""

    def __post_init__(self) -> None:
        assert self.hazards
        assert all(0 <= hazard <= 1 for hazard in self.hazards)

    def hazard(self, position: int) -> float:
        """P(A = position | A >= position)."""
        return self.hazards[min(position, len(self.hazards)) - 1]

    def expected(self, block_length: int) -> float:
        """E[min(A, block_length)]: tokens per round of blocks of ``block_length``."""
        return expected_tokens([self.hazard(position) for position in range(1, block_length)])[-1]

    def scaled_to(self, mean: float, source: str = "") -> Shape:
        """This shape with every hazard times one factor, so that its mean at ``PUBLISHED_BLOCK`` is ``mean``.

        Args:
            mean: from 1, no token accepted, to ``PUBLISHED_BLOCK``.
        """

        def scaled(factor: float) -> Shape:
            return Shape(tuple(min(1.0, factor * hazard) for hazard in self.hazards), source)

        most = 1 / min(self.hazards)
        return scaled(_bisected(lambda factor: scaled(factor).expected(PUBLISHED_BLOCK), mean, most))

    @classmethod
    def from_means(cls, means: Mapping[int, float], source: str = "") -> Shape:
        """The shape with the mean acceptance length ``means[B]`` at each block length B, and one hazard between two.

        Args:
            means: by ascending block length; each can be reached from the one before.
        """
        hazards: list[float] = []
        for block_length, mean in means.items():
            before, places = tuple(hazards), block_length - 1 - len(hazards)
            hazards += repeat(_bisected(partial(_mean_with, before, places), mean, 1.0), places)
        return cls(tuple(hazards), source)

    @classmethod
    def from_counts(cls, counts: Sequence[int], source: str = "") -> Shape:
        """The shape of a histogram: ``counts[k - 1]`` rounds had the acceptance length k.

        The last entry is the number of rounds whose whole block was accepted, which were at least as long as that.
        """
        total, at_risk = sum(counts), list(accumulate(reversed(counts)))[::-1]
        assert total > 0
        hazards = [count / left if left else 1.0 for count, left in zip(counts[:-1], at_risk, strict=False)]
        return cls(tuple(hazards) or (1.0,), source)


def expected_tokens(hazards: Sequence[float]) -> list[float]:
    """E[min(A, B)] for B = 1 to one more than there are ``hazards``, the first of which is that of position 1."""
    survival = accumulate((1.0, *(1 - hazard for hazard in hazards)), mul)
    return list(accumulate(survival))


def _mean_with(before: Sequence[float], places: int, hazard: float) -> float:
    return expected_tokens([*before, *repeat(hazard, places)])[-1]


def _bisected(mean_of: Callable[[float], float], mean: float, high: float) -> float:
    """The argument from 0 to ``high`` at which ``mean_of``, which falls, is ``mean``."""
    low = 0.0
    for _ in range(_STEPS_OF_BISECTION):
        middle = (low + high) / 2
        low, high = (middle, high) if mean_of(middle) > mean else (low, middle)
    return (low + high) / 2


# The one published set of means of SPEED-Bench at several block lengths: 8B, drafts of an ideal sampler, all
# categories.
FORM: Final = Shape.from_means(
    {4: 2.89, 8: 4.17, 16: 5.68, 32: 7.60},
    source="means at blocks of 4, 8, 16 and 32 over SPEED-Bench, 8B with an ideal sampler (paper, Table 4)",
)


def of_mean(mean: float, source: str = "") -> Shape:
    """The shape with the mean acceptance length ``mean`` at blocks of 32, in the form of SPEED-Bench."""
    form = f"form assumed: {FORM.source}, all hazards times one factor"
    return FORM.scaled_to(mean, f"{source or f'mean acceptance length {mean:g} at blocks of 32'}; {form}")


def _speed_bench(mean: float) -> Shape:
    return of_mean(mean, f"mean acceptance length {mean:g} at blocks of 32, 8B with adapter (paper, Table 10)")


# Of the released 8B, by workload.
PUBLISHED: Final[dict[str, Shape]] = {
    "speed-bench": _speed_bench(6.82),
    "coding": _speed_bench(8.57),
    "math": _speed_bench(8.14),
    "reasoning": _speed_bench(7.99),
    "multilingual": _speed_bench(10.06),
    "qa": _speed_bench(4.65),
    "rag": _speed_bench(6.15),
    "writing": _speed_bench(5.07),
    "nine-tasks": Shape.from_means(
        {8: 5.78, 16: 8.53, 32: 11.36},
        source="means at blocks of 8, 16 and 32 over nine tasks, 8B with SGLang (linyewei526); "
        "one hazard between two of them assumed",
    ),
}

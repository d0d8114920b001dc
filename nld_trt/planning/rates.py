# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Tokens per second of each way of decoding: what a round makes, over the time of its forwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from nld_trt import names
from nld_trt.decode.auto.candidate import BLOCK_LENGTHS, Candidate
from nld_trt.decode.auto.denoising import PUBLISHED_OVER_LINEAR
from nld_trt.decode.auto.shapes import Shape
from nld_trt.names import ModeName
from nld_trt.planning.forward import Bound, ForwardTime
from nld_trt.planning.platform import read_yaml
from nld_trt.planning.provenance import MEASURED, PUBLISHED, Provenance, weakest
from nld_trt.planning.times import ForwardTimes

# Users up to which a crossover is looked for.
MOST_USERS: Final = 1024


@dataclass(frozen=True)
class Rate:
    """The output of a number of users who decode together.

    Attributes:
        mode: as it was asked for; ``way`` is what it stands for, and differs for ``auto``.
        tokens: of a round of one user.
        stated: the user gave the number of tokens.
        forwards: of a round, each with how often it is run.
        seconds: of a round.
    """

    mode: str
    way: Candidate
    users: int
    tokens: float
    forwards: tuple[tuple[ForwardTime, int], ...]
    seconds: float
    stated: bool = False

    @property
    def tokens_per_second(self) -> float:
        return self.users * self.tokens / self.seconds

    @property
    def bound(self) -> Bound:
        return max(self.forwards, key=lambda each: each[0].seconds * each[1])[0].bound

    @property
    def measured(self) -> bool:
        """Whether a clock said what all the forwards take."""
        return all(forward.provenance == MEASURED for forward, _ in self.forwards)

    @property
    def provenance(self) -> Provenance:
        accepted: tuple[Provenance, ...] = () if self.stated or self.way.mode == names.AR else (PUBLISHED,)
        return weakest((*(forward.provenance for forward, _ in self.forwards), *accepted))

    @property
    def range(self) -> tuple[float, float]:
        """Tokens per second, low and high: the errors of the laws. A measured forward has no range."""
        low, high = (1.0, 1.0) if self.measured else spread(self.users == 1)
        return self.tokens_per_second * low, self.tokens_per_second * high

    def to_dict(self) -> dict[str, Any]:
        low, high = self.range
        return {
            "mode": self.mode,
            "block_length": self.way.block_length,
            "users": self.users,
            "tokens_per_second": self.tokens_per_second,
            "tokens_per_second_low": low,
            "tokens_per_second_high": high,
            "tokens_per_second_per_user": self.tokens_per_second / self.users,
            "tokens_per_round": self.tokens,
            "bound": self.bound,
            "provenance": self.provenance,
            "decodes_as": str(self.way),
            "forwards": [
                {"width": each.width, "rows": each.rows, "milliseconds": each.seconds * 1e3, "count": count}
                for each, count in self.forwards
            ],
        }


@cache
def spread(one_row: bool) -> tuple[float, float]:
    """Measured over predicted rates, 10th and 90th percentile, as ``plan --validate`` finds them."""
    low, high = read_yaml(Path(__file__).with_name("fitted.yaml"))["spread"]["one_row" if one_row else "more_rows"]
    return low, high


def rate_of(mode: str, times: ForwardTimes, acceptance: Shape, users: int, block_length: int) -> Rate:
    """The rate of ``users`` who decode in ``mode``, which is one of ``PLANNED_MODES``."""
    if mode != names.AUTO:
        return _rate(mode, _WAYS[mode](block_length), times, acceptance, users)
    linear = [length for length in BLOCK_LENGTHS if length <= block_length]
    ways = [_WAYS[names.AR](1), *(_WAYS[names.LINEAR](length) for length in linear)]
    rates = [_rate(mode, way, times, acceptance, users) for way in ways]
    return max(rates, key=lambda rate: rate.tokens_per_second)


def stated_rate(mode: ModeName, times: ForwardTimes, tokens_per_forward: float, users: int, width: int) -> Rate:
    """The rate of forwards of ``width`` new tokens that each make as many tokens of an answer as the user says."""
    forward = times.forward(users, width)
    seconds = forward.seconds + times.gap(users, width)
    return Rate(mode, Candidate(mode, width), users, tokens_per_forward, ((forward, 1),), seconds, stated=True)


_WAYS: Final = {
    names.AR: lambda block_length: Candidate(names.AR),
    names.LINEAR: lambda block_length: Candidate(names.LINEAR, block_length),
    names.DIFFUSION: lambda block_length: Candidate(names.DIFFUSION, block_length),
}
# Modes that have a number of tokens per forward for any block; auto stands for the best of ar and linear.
PLANNED_MODES: Final = (*_WAYS, names.AUTO)


def _rate(mode: str, way: Candidate, times: ForwardTimes, acceptance: Shape, users: int) -> Rate:
    forward = times.forward(users, way.block_length)
    seconds = forward.seconds * way.forwards + times.gap(users, way.block_length)
    return Rate(mode, way, users, _tokens(way, acceptance), ((forward, way.forwards),), seconds)


def _tokens(way: Candidate, acceptance: Shape) -> float:
    """Tokens of a round of one user."""
    accepted = acceptance.expected(way.block_length)
    if way.mode == names.DIFFUSION:  # one forward, as many tokens as auto expects of one
        return max(1.0, PUBLISHED_OVER_LINEAR * accepted / 2)
    return accepted


@dataclass(frozen=True)
class Crossover:
    """The least number of users from which on ``ar`` makes more tokens than blocks of ``block_length``.

    Attributes:
        users: None if blocks are still better with 1,024.
    """

    block_length: int
    users: int | None
    provenance: Provenance

    def to_dict(self) -> dict[str, Any]:
        return {
            "from": names.LINEAR,
            "to": names.AR,
            "block_length": self.block_length,
            "users": self.users,
            "provenance": self.provenance,
        }


def crossovers(times: ForwardTimes, acceptance: Shape, block_length: int) -> list[Crossover]:
    """Where ``ar`` overtakes, for each block length up to ``block_length``."""
    lengths: Sequence[int] = sorted({*(length for length in BLOCK_LENGTHS if length <= block_length), block_length})
    return [_crossover(times, acceptance, length) for length in lengths]


def _crossover(times: ForwardTimes, acceptance: Shape, block_length: int) -> Crossover:
    def better(users: int) -> bool:
        token, block = (
            rate_of(mode, times, acceptance, users, block_length).tokens_per_second for mode in (names.AR, names.LINEAR)
        )
        return token > block

    provenance = rate_of(names.LINEAR, times, acceptance, 1, block_length).provenance
    if not better(MOST_USERS):
        return Crossover(block_length, None, provenance)
    users = MOST_USERS
    while users > 1 and better(users // 2):
        users //= 2
    worse = users // 2
    while users - worse > 1:
        middle = (worse + users) // 2
        worse, users = (worse, middle) if better(middle) else (middle, users)
    return Crossover(block_length, users, provenance)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The acceptance that one request, and one server, have seen: a running histogram that answers for every block length.

Shortening a block does not change how many of its first tokens are accepted, so that one histogram is enough: a round
of blocks of B makes E[min(A, B)] tokens, where A is the acceptance length of an endlessly long draft. A round whose
whole block was accepted only says that A was at least B. Such observations are censored, and the histogram is therefore
kept as hazards, h(k) = P(A = k | A >= k), as Kaplan and Meier do: a round has something to say on every position up to
its acceptance length, and on none after it, whatever the length of its block.

Positions that rounds do not reach, because blocks are shorter, are expected to differ from what was expected before as
the reached ones do: by one factor on all hazards. So no block length is ever tried for the sake of knowing.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import mul
from typing import Final

from nld_trt.decode.auto.shapes import Shape, expected_tokens

# What was expected counts for so many rounds at each position, and for so many ends of rounds at all positions
# together. A published shape says little of a server's content, and a server's rounds say much of its next request.
_WEIGHT_OF_SHAPE: Final = 4.0
_WEIGHT_OF_SERVER: Final = 16.0
# Rounds that a request and a server remember. Content changes, and acceptance with it: the last rounds say something of
# the next (an EWMA correlates 0.63 with the next round where that was measured), and little of a later one.
_REQUEST_MEMORY: Final = 64.0
_SERVER_MEMORY: Final = 4096.0
# Rounds after which a request's expectation is computed anew: of itself, and, beside an eighth of all, of the server.
_ROUNDS_BETWEEN: Final = 4
_SERVER_ROUNDS_BETWEEN: Final = 32


class Hazards:
    """Hazards by position, as expected at first and then as seen. Not thread-safe.

    A position forgets old rounds when a new one reaches it, and not with time.

    Args:
        memory: rounds that are remembered at each position.
        weight: rounds that what was expected counts for, at each position, and of ends at all positions together.
        longest: the longest block that is ever asked for.
    """

    def __init__(self, memory: float, weight: float, longest: int) -> None:
        self.longest = longest
        self._weight = weight
        self._keep = 1 - 1 / memory
        self._rounds = [0.0] * (longest - 1)
        self._ends = [0.0] * (longest - 1)

    def add(self, accepted: int, block_length: int) -> None:
        """Take in a round with acceptance length ``accepted`` of a block of ``block_length``.

        A hazard at k asks whether the draft after token k was accepted: a block of B tells of positions up to B - 1.
        """
        keep, rounds, ends = self._keep, self._rounds, self._ends
        reached = min(accepted, block_length - 1, self.longest - 1)
        for index in range(reached):
            rounds[index] = rounds[index] * keep + 1
            ends[index] *= keep
        if 0 < accepted == reached:
            ends[accepted - 1] += 1

    def learned(self, expected: Sequence[float]) -> list[float]:
        """The hazards ``expected``, times the factor by which ends were more or fewer than expected, and weighed
        against what was seen at each position."""
        foreseen = sum(map(mul, expected, self._rounds))
        factor = (self._weight + sum(self._ends)) / (self._weight + foreseen)
        weight = self._weight
        return [
            min(1.0, (weight * factor * hazard + ended) / (weight + count))
            for hazard, count, ended in zip(expected, self._rounds, self._ends, strict=True)
        ]


class Prior:
    """What a server expects of a request that has decoded nothing: the rounds of all requests, pooled.

    Args:
        shape: expected before any round.
        longest: the longest block that is ever asked for.

    Attributes:
        version: changes with every round.
    """

    def __init__(self, shape: Shape, longest: int) -> None:
        self.longest = longest
        self.version = 0
        self._shape = [shape.hazard(position) for position in range(1, longest)]
        self._seen = Hazards(_SERVER_MEMORY, _WEIGHT_OF_SHAPE, longest)
        self._known: tuple[int, list[float]] | None = None

    def add(self, accepted: int, block_length: int) -> None:
        """Take in a round of any request."""
        self._seen.add(accepted, block_length)
        self.version += 1

    @property
    def hazards(self) -> list[float]:
        if self._known is None or self._known[0] != self.version:
            self._known = self.version, self._seen.learned(self._shape)
        return self._known[1]

    def expected(self, block_length: int) -> float:
        """E[min(A, block_length)] of a request that has decoded nothing."""
        return expected_tokens(self.hazards)[block_length - 1]


class Acceptance:
    """The running histogram of one request, above a prior, which learns from it. Not thread-safe.

    What is expected is computed anew after some rounds, of the request or of the server, and not after each: it is
    asked for every row in every round, and one round changes little.
    """

    def __init__(self, prior: Prior) -> None:
        self._prior = prior
        self._seen = Hazards(_REQUEST_MEMORY, _WEIGHT_OF_SERVER, prior.longest)
        self._tokens: list[float] = []
        # Rounds of this request since, and the prior's version from which on it is computed anew.
        self._rounds = 0
        self._valid_to = 0

    def observe(self, accepted: int, block_length: int) -> None:
        """Take in a verified draft.

        Args:
            accepted: tokens that it emitted, the bonus token included, 1 to ``block_length``. Where an EOS or a limit
            cut
                them, acceptance ended there.
            block_length: of the draft, with the bonus token.
        """
        assert 1 <= accepted <= block_length
        self._seen.add(accepted, block_length)
        self._prior.add(accepted, block_length)
        self._rounds += 1

    @property
    def tokens(self) -> Sequence[float]:
        """E[min(A, B)] for B = 1 and up: tokens of this request's next round at blocks of B."""
        version = self._prior.version
        if not self._tokens or self._rounds >= _ROUNDS_BETWEEN or version >= self._valid_to:
            self._tokens = expected_tokens(self._seen.learned(self._prior.hazards))
            self._rounds = 0
            self._valid_to = version + _SERVER_ROUNDS_BETWEEN + int(min(version, _SERVER_MEMORY)) // 8
        return self._tokens

    def expected(self, block_length: int) -> float:
        """E[min(A, block_length)], tokens of this request's next round at blocks of ``block_length``."""
        return self.tokens[block_length - 1]

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What forwards of one kind cost, learnt from those that have run."""

from __future__ import annotations

from dataclasses import dataclass

# What a forward counts for after this many others is 1/e of what it did.
_MEMORY = 50.0
# A forward that took so many times as long as was expected was disturbed: it counts as if it had taken this long.
_DISTURBED = 4.0


@dataclass
class ForwardTimes:
    """A running fit of seconds = fixed + per_token * tokens.

    Attributes:
        latest: running mean of the seconds.
    """

    latest: float = 0.0
    _weight: float = 0.0
    _tokens: float = 0.0
    _seconds: float = 0.0
    _squares: float = 0.0
    _products: float = 0.0

    def add(self, tokens: int, seconds: float) -> None:
        """Take in a forward that has run."""
        if self._weight:
            seconds = min(seconds, _DISTURBED * max(self.seconds(tokens), self.latest))
        kept = 1 - 1 / _MEMORY
        self._weight = kept * self._weight + 1
        self._tokens = kept * self._tokens + tokens
        self._seconds = kept * self._seconds + seconds
        self._squares = kept * self._squares + tokens * tokens
        self._products = kept * self._products + tokens * seconds
        share = max(1 / self._weight, 0.1)
        self.latest += share * (seconds - self.latest)

    def seconds(self, tokens: int) -> float:
        """The expected seconds of a forward; 0 before the first has run."""
        fixed, per_token = self._line()
        return fixed + per_token * tokens

    @property
    def fixed(self) -> float:
        """The seconds that a forward takes however few tokens it has."""
        return self._line()[0]

    def most_tokens(self, seconds: float, least: int, most: int) -> int:
        """The tokens that a forward of ``seconds`` may have: ``least`` times a power of two, or ``most``."""
        chosen = min(least, most)
        while chosen < most and self.seconds(min(2 * chosen, most)) <= seconds:
            chosen = min(2 * chosen, most)
        return chosen

    def _line(self) -> tuple[float, float]:
        """Fixed seconds and seconds per token, neither below 0."""
        if not self._weight or not self._tokens:
            return 0.0, 0.0
        mean_tokens, mean_seconds = self._tokens / self._weight, self._seconds / self._weight
        spread = self._squares / self._weight - mean_tokens**2
        if spread <= 1e-9 * mean_tokens**2:
            return 0.0, mean_seconds / mean_tokens
        slope = (self._products / self._weight - mean_tokens * mean_seconds) / spread
        slope = min(max(slope, 0.0), mean_seconds / mean_tokens)
        return mean_seconds - slope * mean_tokens, slope

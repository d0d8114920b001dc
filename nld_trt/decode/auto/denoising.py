# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""How many tokens block diffusion makes per forward, as one request and one server have seen it."""

from __future__ import annotations

from typing import Final

# Tokens per forward of diffusion over those of linear self-speculation, both with blocks of 32: 2.6 against 5.99 times
# those of ar, 8B on ten tasks (model card and paper). A server expects this before it has seen a block.
PUBLISHED_OVER_LINEAR: Final = 2.6 / 5.99

# In forwards: what is expected counts for, and what a request and a server remember.
_WEIGHT: Final = 32.0
_REQUEST_MEMORY: Final = 128.0
_SERVER_MEMORY: Final = 8192.0


class DenoisingPrior:
    """Tokens per forward over all requests of a server.

    Args:
        tokens_per_forward: expected before any block.
    """

    def __init__(self, tokens_per_forward: float) -> None:
        self._expected = tokens_per_forward
        self._seen = _Sums(_SERVER_MEMORY)

    def add(self, tokens: int, forwards: int) -> None:
        """Take in a block of any request."""
        self._seen.add(tokens, forwards)

    @property
    def tokens_per_forward(self) -> float:
        return self._seen.rate(self._expected)


class Denoising:
    """Tokens per forward of one request, above the server's, which learns from it. Not thread-safe."""

    def __init__(self, prior: DenoisingPrior) -> None:
        self._prior = prior
        self._seen = _Sums(_REQUEST_MEMORY)

    def observe(self, tokens: int, forwards: int) -> None:
        """Take in a committed block.

        Args:
            tokens: of the block.
            forwards: denoise passes and the commit pass.
        """
        assert forwards >= 1
        self._seen.add(tokens, forwards)
        self._prior.add(tokens, forwards)

    @property
    def tokens_per_forward(self) -> float:
        return self._seen.rate(self._prior.tokens_per_forward)


class _Sums:
    """Sums with exponential forgetting."""

    def __init__(self, memory: float) -> None:
        self._memory = memory
        self._tokens = self._forwards = 0.0

    def add(self, tokens: int, forwards: int) -> None:
        kept = max(0.0, 1 - forwards / self._memory)
        self._tokens = self._tokens * kept + tokens
        self._forwards = self._forwards * kept + forwards

    def rate(self, expected: float) -> float:
        return (_WEIGHT * expected + self._tokens) / (_WEIGHT + self._forwards)

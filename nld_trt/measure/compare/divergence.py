# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The distance between two engines' predictions, position by position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Divergence:
    """Means over many positions. Both are None without a position.

    Attributes:
        kl: mean KL(reference || candidate) of a position, in nats.
        top1_agreement: fraction of positions where both engines pick the same token.
    """

    kl: float | None
    top1_agreement: float | None
    positions: int


@dataclass
class Tally:
    """The sums over the positions so far. ``nats`` is the sum of their KL divergences."""

    nats: float = 0.0
    agreements: int = 0
    positions: int = 0

    def add(self, nats: npt.NDArray[np.float64], agreed: npt.NDArray[np.bool_]) -> None:
        """Count positions by their KL [N] and by whether both engines picked the same token [N]."""
        self.nats += float(nats.sum())
        self.agreements += int(agreed.sum())
        self.positions += len(nats)

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.nats + other.nats, self.agreements + other.agreements, self.positions + other.positions)

    def figures(self) -> Divergence:
        if not self.positions:
            return Divergence(None, None, 0)
        return Divergence(self.nats / self.positions, self.agreements / self.positions, self.positions)


def kl_divergence(reference: Logits, candidate: Logits) -> npt.NDArray[np.float64]:
    """Return KL(reference || candidate) in nats, shape [...], of the softmax of finite logits of shape [..., V].

    All V tokens count, MASK included, as in the softmax that a confidence is taken from.
    """
    log_p, log_q = _log_softmax(reference), _log_softmax(candidate)
    nats: npt.NDArray[np.float64] = (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)
    # The divergence is never negative, but rounding can make it so in the last digits.
    return np.maximum(nats, 0.0)


def _log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64, copy=False) - logits.max(axis=-1, keepdims=True)
    logs: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logs

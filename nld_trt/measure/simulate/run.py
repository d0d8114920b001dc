# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A server in simulated time: rounds take what a cost table says, and accept what a shape of acceptance gives.

The policy may be the controller that servers use, or a fixed mode. Requests come from a load, take rows as they become
free, and decode until they have their tokens. Acceptance is drawn per request, so that every policy meets the same.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from nld_trt import names
from nld_trt.decode.auto.candidate import Candidate
from nld_trt.decode.auto.controller import Controller, RowHistory
from nld_trt.decode.auto.costs import Costs
from nld_trt.decode.auto.shapes import Shape
from nld_trt.measure.simulate.trace import Arrival, Load
from nld_trt.names import DEFAULT_PROMPT_CHUNK

# Longest acceptance that is drawn. No block is longer.
_LONGEST: Final = 64
_DRAWN_AT_ONCE: Final = 64


class Policy(Protocol):
    """What decides how the rows of a simulated server decode."""

    def join(self) -> RowHistory | None:
        """A new row's history, where the policy keeps one."""

    def choose(self, rows: Sequence[RowHistory | None], count: int) -> Candidate:
        """How ``count`` decoding rows decode their next round."""


@dataclass(frozen=True)
class Fixed:
    """One candidate at every load."""

    candidate: Candidate

    def join(self) -> None:
        return None

    def choose(self, rows: Sequence[RowHistory | None], count: int) -> Candidate:
        return self.candidate


@dataclass(frozen=True)
class Adaptive:
    """The controller of servers."""

    controller: Controller

    def join(self) -> RowHistory:
        return self.controller.join()

    def choose(self, rows: Sequence[RowHistory | None], count: int) -> Candidate:
        return self.controller.decide([row for row in rows if row is not None]).candidate


@dataclass(frozen=True)
class Round:
    """One round of all rows: when it ended, in simulated seconds, and what it did."""

    end: float
    seconds: float
    rows: int
    tokens: int
    candidate: Candidate


@dataclass
class Simulated:
    """What a load became of. Seconds are simulated."""

    rounds: list[Round] = field(default_factory=list)
    # Of each finished request, from its arrival to its last token.
    latencies: list[float] = field(default_factory=list)
    prefill_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds in which something was computed."""
        return sum(each.seconds for each in self.rounds) + self.prefill_seconds

    @property
    def tokens(self) -> int:
        return sum(each.tokens for each in self.rounds)

    @property
    def rate(self) -> float:
        """Tokens per second in which something was computed."""
        return self.tokens / self.seconds

    @property
    def tokens_by_candidate(self) -> dict[Candidate, int]:
        found: Counter[Candidate] = Counter()
        for each in self.rounds:
            found[each.candidate] += each.tokens
        return dict(found)


class _Acceptance:
    """The acceptance lengths of one request, the same in every simulation with the same seed."""

    def __init__(self, survival: npt.NDArray[np.float64], seed: int, number: int) -> None:
        self._survival = survival
        self._random = np.random.default_rng([seed, number])
        self._drawn: list[int] = []

    def next(self, block_length: int) -> int:
        if not self._drawn:
            uniform = self._random.random(_DRAWN_AT_ONCE)
            # The number of k with P(A >= k) > u is distributed as A.
            self._drawn = np.searchsorted(-self._survival, -uniform).tolist()
        return min(max(self._drawn.pop(), 1), block_length)


@dataclass
class _Request:
    arrival: Arrival
    acceptance: _Acceptance
    history: RowHistory | None
    left: int

    def decode(self, candidate: Candidate) -> int:
        """Decode a round; returns its tokens."""
        drafted = candidate.mode == names.LINEAR
        accepted = self.acceptance.next(candidate.block_length) if drafted else 1
        emitted = min(accepted, self.left)
        self.left -= emitted
        if drafted and self.history is not None:
            self.history.verified(emitted, candidate.block_length)
        return emitted


def simulate(
    load: Load,
    costs: Costs,
    shape: Shape,
    policy: Policy,
    *,
    max_rows: int,
    seed: int = 0,
    prompt_chunk: int = DEFAULT_PROMPT_CHUNK,
) -> Simulated:
    """Decode a load to its end.

    Diffusion is not simulated: no distribution of its passes per block is published.

    Args:
        costs: seconds of every forward. A prompt is read in chunks, each in a forward of its own row.
        max_rows: rows that decode together; further requests wait.
        seed: of the acceptance of all requests.
    """
    survival = _survival(shape)
    found = Simulated()
    waiting: deque[Arrival] = deque()
    live: list[_Request] = []
    now, number = 0.0, 0
    while load.end is None or now < load.end:
        waiting.extend(load.due(now, len(live) + len(waiting)))
        while waiting and len(live) < max_rows:
            arrival = waiting.popleft()
            reading = _prefill(costs, arrival.input_tokens, prompt_chunk)
            found.prefill_seconds += reading
            now += reading
            live.append(_Request(arrival, _Acceptance(survival, seed, number), policy.join(), arrival.output_tokens))
            number += 1
        if not live:
            following = load.next_after(now)
            if following is None:
                break
            now = following
            continue
        candidate = policy.choose([request.history for request in live], len(live))
        seconds = candidate.forwards * costs.seconds(len(live), candidate.block_length)
        now += seconds
        tokens = sum(request.decode(candidate) for request in live)
        found.rounds.append(Round(now, seconds, len(live), tokens, candidate))
        found.latencies += (now - request.arrival.second for request in live if not request.left)
        live = [request for request in live if request.left]
    return found


def _survival(shape: Shape) -> npt.NDArray[np.float64]:
    hazards = np.array([shape.hazard(position) for position in range(1, _LONGEST)])
    return np.concatenate([[1.0], np.cumprod(1 - hazards)])


def _prefill(costs: Costs, tokens: int, chunk: int) -> float:
    whole, rest = divmod(tokens, chunk)
    return whole * costs.seconds(1, chunk) + (costs.seconds(1, rest) if rest else 0.0)

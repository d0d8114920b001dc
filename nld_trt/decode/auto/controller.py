# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The choice of mode and block length for all decoding rows of a batch, by expected tokens per second.

The rate of a candidate is the sum over rows of the tokens that a round of it makes, over the seconds of its forwards.
It counts rows that decode; prompts that are being read do not belong to them. The controller has no clock and no random
numbers: the same rows, histograms and costs lead to the same decisions.

It changes its mind when staying has cost enough: every round in which another candidate is better by more than a margin
adds the part of the round that was lost, and a switch needs a whole round of it. A load that changes much is followed
in two or three rounds, a small difference in a few dozen, and noise around equal rates not at all.

In ar, nothing is learned of drafts. So one round of drafts is decoded now and then, by all rows together, since a
forward of many rows costs little more than that of one, and at the best block length, since no other could be chosen
next. It is due when its expected loss is no more than a small part of the time since the one before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from nld_trt import names
from nld_trt.decode.auto.acceptance import Acceptance, Prior
from nld_trt.decode.auto.candidate import AUTOREGRESSIVE, Candidate, candidates
from nld_trt.decode.auto.costs import Costs
from nld_trt.decode.auto.denoising import PUBLISHED_OVER_LINEAR, Denoising, DenoisingPrior
from nld_trt.decode.auto.live import LiveCosts
from nld_trt.decode.auto.shapes import PUBLISHED, Shape
from nld_trt.engine.session import Session
from nld_trt.names import ModeName

Cause = Literal["first", "rate", "diffusion not allowed", "probe"]
FIRST: Final = "first"
RATE: Final = "rate"
NOT_ALLOWED: Final = "diffusion not allowed"
PROBE: Final = "probe"


@dataclass(frozen=True)
class Hysteresis:
    """What keeps a controller from changing its mind too often.

    Attributes:
        margin: part of the best rate that a choice may be below it and be kept for ever.
        patience: rounds' worth of tokens that staying must have lost before a switch.
        dwell: rounds after a switch before the next one.
        probe_share: most of the time in ar that rounds of drafts may lose, as a part of it.
        probe_every: fewest rounds of ar between two rounds of drafts.
    """

    margin: float = 0.01
    patience: float = 1.0
    dwell: int = 4
    probe_share: float = 0.01
    probe_every: int = 16


@dataclass(frozen=True)
class Decision:
    """How all decoding rows of a batch decode their next round.

    Attributes:
        block_length: 1 in a mode without blocks.
        cause: why this is not what was decided before: the first decision, a better rate, a row that does not allow
            diffusion, or a round of drafts in ar that teaches acceptance. A decision that is kept keeps its cause.
        reason: the cause with its figures, in words.
    """

    mode: ModeName
    block_length: int
    cause: Cause
    reason: str

    @property
    def candidate(self) -> Candidate:
        return Candidate(self.mode, self.block_length)


class RowHistory:
    """What a controller knows of one request. Made by :meth:`Controller.join`."""

    def __init__(self, acceptance: Acceptance, denoising: Denoising, allow_diffusion: bool) -> None:
        self.allow_diffusion = allow_diffusion
        self._acceptance = acceptance
        self._denoising = denoising

    def verified(self, emitted: int, block_length: int) -> None:
        """Take in a verify pass.

        Args:
            emitted: tokens that it emitted, the bonus token included, 1 to ``block_length``: its acceptance length, or
                less where an EOS or a limit cut it. A shorter block would have emitted no more before the cut.
            block_length: of the draft, with the bonus token.
        """
        self._acceptance.observe(emitted, block_length)

    def denoised(self, tokens: int, forwards: int) -> None:
        """Take in a committed block of diffusion: its tokens, and its denoise passes and commit pass."""
        self._denoising.observe(tokens, forwards)

    def tokens(self, compared: Sequence[Candidate]) -> list[float]:
        """Expected tokens of the request's next round with each candidate."""
        drafted = self._acceptance.tokens
        return [
            self._denoising.tokens_per_forward
            if candidate.mode == names.DIFFUSION
            else drafted[candidate.block_length - 1]
            for candidate in compared
        ]


class Controller:
    """Decides for one batch. Not thread-safe.

    Attributes:
        switches: how often each candidate was switched to; the first decision and probes are no switches.
        probes: rounds of drafts in ar that were decided.
    """

    def __init__(
        self,
        compared: Sequence[Candidate],
        costs: Costs,
        *,
        shape: Shape = PUBLISHED[names.DEFAULT_WORKLOAD],
        hysteresis: Hysteresis = Hysteresis(),
        row_count: Callable[[int], int] = lambda rows: rows,
    ) -> None:
        """Start without a decision.

        Args:
            compared: those of :func:`nld_trt.decode.auto.candidate.candidates`; where rates are equal the first wins.
            shape: expected of requests before any was decoded.
            row_count: rows that a forward for so many decoding rows has (``Session.row_count``).
        """
        assert AUTOREGRESSIVE in compared
        longest = max(candidate.block_length for candidate in compared)
        self.candidates = tuple(compared)
        self.costs = costs
        self.hysteresis = hysteresis
        self.switches: Counter[Candidate] = Counter()
        self.probes = 0
        self._row_count = row_count
        self._prior = Prior(shape, longest)
        self._denoising = DenoisingPrior(PUBLISHED_OVER_LINEAR * shape.expected(longest) / 2)
        self._decision: Decision | None = None
        self._rounds = 0
        self._lost = 0.0
        self._unprobed_rounds = 0
        self._unprobed_seconds = 0.0

    @classmethod
    def of(cls, session: Session, costs: LiveCosts) -> Controller:
        """The controller of a batch on ``session``: every block length that ``costs`` has times of, and diffusion with
        the engine's own."""
        found = candidates(costs.table.widths, diffusion_block=session.info.default_block_length)
        return cls(found, costs, row_count=session.row_count)

    @property
    def decision(self) -> Decision | None:
        """The decision that holds; None before the first. A probe is not what holds."""
        return self._decision

    def join(self, *, allow_diffusion: bool = False) -> RowHistory:
        """What is known of a request that has decoded nothing yet. What it decodes teaches the controller at once.

        Args:
            allow_diffusion: whether the request's text may be other than that of ar.
        """
        return RowHistory(Acceptance(self._prior), Denoising(self._denoising), allow_diffusion)

    def rates(self, rows: Sequence[RowHistory]) -> dict[Candidate, float]:
        """Expected tokens per second of all ``rows`` together, by candidate that every row allows. At least one row."""
        every_row_allows = all(row.allow_diffusion for row in rows)
        allowed = [each for each in self.candidates if each.mode != names.DIFFUSION or every_row_allows]
        tokens = map(sum, zip(*(row.tokens(allowed) for row in rows), strict=True))
        return {
            candidate: expected / self._seconds(candidate, len(rows))
            for candidate, expected in zip(allowed, tokens, strict=True)
        }

    def decide(self, rows: Sequence[RowHistory]) -> Decision:
        """Decide how ``rows`` decode their next round. Call it once a round, with the rows that are past their prompt.

        Args:
            rows: at least one.
        """
        rates = self.rates(rows)
        best = max(rates, key=lambda candidate: rates[candidate])
        kept = self._decision
        if kept is None:
            return self._take(best, FIRST, len(rows), rates)
        if kept.candidate not in rates:
            return self._switch(best, NOT_ALLOWED, len(rows), rates)
        self._rounds += 1
        loss = 1 - rates[kept.candidate] / rates[best]
        self._lost = self._lost + loss if loss > self.hysteresis.margin else 0.0
        if self._lost >= self.hysteresis.patience and self._rounds >= self.hysteresis.dwell:
            return self._switch(best, RATE, len(rows), rates)
        return self._probe(kept, len(rows), rates)

    def _seconds(self, candidate: Candidate, rows: int) -> float:
        return candidate.forwards * self.costs.seconds(self._row_count(rows), candidate.block_length)

    def _switch(self, best: Candidate, cause: Cause, rows: int, rates: dict[Candidate, float]) -> Decision:
        self.switches[best] += 1
        return self._take(best, cause, rows, rates)

    def _take(self, best: Candidate, cause: Cause, rows: int, rates: dict[Candidate, float]) -> Decision:
        kept = self._decision
        against = f", {kept.candidate} {rates[kept.candidate]:.0f}" if kept and kept.candidate in rates else ""
        reason = f"{cause}: {_counted(rows)}, {best} at {rates[best]:.0f} tokens/s{against}"
        self._decision = Decision(best.mode, best.block_length, cause, reason)
        self._rounds = self._unprobed_rounds = 0
        self._lost = self._unprobed_seconds = 0.0
        return self._decision

    def _probe(self, kept: Decision, rows: int, rates: dict[Candidate, float]) -> Decision:
        """``kept``, or in ar the round of drafts that is due."""
        drafts = [candidate for candidate in rates if candidate.mode == names.LINEAR]
        if kept.candidate != AUTOREGRESSIVE or not drafts:
            return kept
        self._unprobed_rounds += 1
        self._unprobed_seconds += self._seconds(AUTOREGRESSIVE, rows)
        best = max(drafts, key=lambda candidate: rates[candidate])
        loss = self._seconds(best, rows) * max(0.0, 1 - rates[best] / rates[AUTOREGRESSIVE])
        budget = self.hysteresis.probe_share * self._unprobed_seconds
        if self._unprobed_rounds < self.hysteresis.probe_every or loss > budget:
            return kept
        self.probes += 1
        self._unprobed_rounds, self._unprobed_seconds = 0, 0.0
        reason = f"{PROBE}: one round of drafts in {AUTOREGRESSIVE}, at {_counted(rows)}"
        return replace(kept, mode=best.mode, block_length=best.block_length, cause=PROBE, reason=reason)


def _counted(rows: int) -> str:
    return f"{rows} row{'s' * (rows != 1)}"

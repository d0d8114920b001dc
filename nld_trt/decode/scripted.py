# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Drafts whose acceptance is drawn from a histogram, so that the speed of an engine of random weights can be measured.

Random weights accept no draft, and so decode at a speed that no trained checkpoint of their shape has. Here every
forward is the real one: its width, its rows, its caches and its decode operators. Only how many tokens a verify pass
has accepted is drawn, by the host, in place of what the engine found. The next pass begins behind that many tokens, so
that the caches grow, and requests end, as those of a checkpoint with that acceptance do. The tokens mean nothing.

The engine prepares the next pass by its own count, which is not the drawn one: the host fills in every forward, and
none is started ahead. What is measured is therefore at most the speed of such a checkpoint, never more.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from nld_trt import names
from nld_trt.decode.auto.shapes import Shape
from nld_trt.decode.fill import Outcome
from nld_trt.decode.request import ResolvedRequest
from nld_trt.decode.row import Emission, Row
from nld_trt.errors import InputError
from nld_trt.model.text.streaming import TextStream
from nld_trt.names import ModeName

# Modes whose passes a histogram of acceptance describes; in ar there is nothing to draw.
SCRIPTED_MODES: Final[tuple[ModeName, ...]] = (names.AR, *names.SPECULATIVE)


@dataclass(frozen=True)
class Script:
    """What verify passes are told to have accepted.

    Attributes:
        shape: of the acceptance length; a block of B tokens accepts at most B.
        source: where the shape is from, in words.
        longest: the longest block that it says something of.
        seed: another one gives other draws.
    """

    shape: Shape
    source: str
    longest: int
    seed: int = 0

    def check(self, mode: ModeName, block_length: int) -> None:
        """Refuse what the histogram does not describe.

        Raises:
            InputError: a mode without drafts that are verified, or a block that is longer than the histogram.
        """
        if mode not in SCRIPTED_MODES:
            raise InputError(
                f"mode {mode} has no drafts whose acceptance could be scripted",
                fix=f"Name modes that have, or need none: --modes {','.join(SCRIPTED_MODES)}",
            )
        if mode in names.SPECULATIVE and block_length > self.longest:
            raise InputError(
                f"the acceptance of {self.source} ends at blocks of {self.longest} tokens; one of {block_length} was "
                "asked for",
                fix=f"Measure blocks of up to {self.longest} tokens, or give a histogram of longer ones.",
            )

    def lengths(self, request: int, block_length: int) -> Iterator[int]:
        """Draw the acceptance lengths, 1 to ``block_length``, of one request's verify passes, without end.

        Args:
            request: its number; the same number draws the same.
        """
        draws = random.Random(f"{self.seed} {request}")
        while True:
            length = 1
            while length < block_length and draws.random() >= self.shape.hazard(length):
                length += 1
            yield length


class ScriptedRow(Row):
    """A row whose verify passes accept what its script says."""

    def __init__(
        self, request: ResolvedRequest, mask_token_id: int, text: TextStream | None, script: Script, *, number: int = 0
    ) -> None:
        script.check(request.mode, request.block_length)
        super().__init__(request, mask_token_id, text, number=number)
        self._lengths = script.lengths(number, request.block_length)

    @property
    def goes_on(self) -> bool:
        return super().goes_on and not self._verifies

    @property
    def _verifies(self) -> bool:
        return self.request.mode in names.SPECULATIVE

    def advance(self, outcome: Outcome) -> Emission:
        verified = self.pending.causal and not self.in_prefill
        return super().advance(self._scripted(outcome) if self._verifies and verified else outcome)

    def _scripted(self, outcome: Outcome) -> Outcome:
        """``outcome`` of the pending verify pass, with a drawn count and the pass that follows from it."""
        if not outcome.finite:
            return outcome
        part, count = self.pending, next(self._lengths)
        # The kernels choose nothing after the first draft that does not match.
        choice = outcome.verified_tokens[count - 1]
        tokens = [*part.tokens[1:count], choice if choice >= 0 else part.tokens[count - 1]]
        following = self.mode.opening(tokens[-1], outcome.drafts)
        if part.settings.segments:
            following = self.mode.second(replace(outcome, block_tokens=[tokens[-1], *part.tokens[1 : self._drafts]]))
        return replace(
            outcome,
            verified_tokens=tokens,
            accepted_count=count,
            following=replace(following, cache_length=part.cache_length + count, tokens_left=part.tokens_left - count),
        )

    @property
    def _drafts(self) -> int:
        return self.mode.block_length

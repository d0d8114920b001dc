# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Sums over finished generations, and the figures that are defined on them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nld_trt.decode.result import Result


@dataclass(frozen=True)
class Totals:
    """Counts of one generation or of many; a figure of many is their sums' quotient, not a mean of quotients.

    Attributes:
        tokens: generated, prompts excluded, EOS included.
        nfe: forward evaluations by the reference's rules (``decode.counters``).
        rounds: linear: draft + verify rounds.
        round_tokens: linear: tokens emitted by those rounds.
        blocks: diffusion: blocks denoised.
        denoise_passes: diffusion: over all blocks.
    """

    tokens: int
    nfe: int
    rounds: int
    round_tokens: int
    blocks: int
    denoise_passes: int

    @classmethod
    def of(cls, results: Iterable[Result]) -> Totals:
        results = list(results)
        return cls(
            tokens=sum(len(result.output_ids) for result in results),
            nfe=sum(result.nfe for result in results),
            rounds=sum(len(result.accepted) for result in results),
            # The prefill's token belongs to no round, and tokens cut after EOS or a limit are not emitted.
            round_tokens=sum(len(result.output_ids) - 1 for result in results if result.accepted),
            blocks=sum(len(result.denoise_passes) for result in results),
            denoise_passes=sum(sum(result.denoise_passes) for result in results),
        )

    @property
    def tokens_per_forward(self) -> float:
        """0 where no forward counts: an error may end a request in its prefill."""
        return self.tokens / self.nfe if self.nfe else 0.0

    @property
    def acceptance_length(self) -> float | None:
        """Tokens emitted per draft + verify round (docs/model.md, Counting); None without rounds."""
        return self.round_tokens / self.rounds if self.rounds else None

    @property
    def denoise_passes_per_block(self) -> float | None:
        return self.denoise_passes / self.blocks if self.blocks else None

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What generations are measured by: counts that add up, and the figures that are computed from them.

This module imports no library: the command line reads its table for titles of columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Final

from nld_trt import names
from nld_trt.names import ModeName, PassKind


@dataclass
class Counters:
    """Passes of one request, counted while it is decoded.

    Attributes:
        forwards: forwards that the request took part in, by kind; a chunked prefill counts every chunk.
        accepted: linear, quadratic and eagle3: tokens of each verify pass, matching draft tokens + 1, before any cut.
        denoise_passes: diffusion: denoise passes of each block.
        cached_tokens: prompt tokens whose keys and values were another request's.
        dropped: tokens of the last verify pass that came after an EOS, a stop string or a limit.
        tokens: emitted tokens by the mode that made them; several for requests of mode auto.
        switches: how often a request of mode auto has changed its mode or block length.
    """

    forwards: Counter[PassKind] = field(default_factory=Counter)
    accepted: list[int] = field(default_factory=list)
    denoise_passes: list[int] = field(default_factory=list)
    cached_tokens: int = 0
    dropped: int = 0
    tokens: Counter[ModeName] = field(default_factory=Counter)
    switches: int = 0

    def nfe(self, mode: ModeName, emitted: int) -> int:
        """Number of forward evaluations by the reference's rules (docs/model.md, Counting)."""
        rules = {
            names.AR: emitted,
            names.DIFFUSION: self.forwards[names.DENOISE] + self.forwards[names.COMMIT],
            names.LINEAR: 1 + self.forwards[names.DRAFT] + self.forwards[names.VERIFY],
            names.QUADRATIC: 1 + self.forwards[names.DRAFT] + self.forwards[names.QUADRATIC],
            names.EAGLE3: 1 + self.forwards[names.VERIFY],
            names.AUTO: 1 + sum(count for kind, count in self.forwards.items() if kind != names.PREFILL),
        }
        return rules[mode]


@dataclass(frozen=True)
class Counts:
    """Counts of one generation or of many. A figure of many is a quotient of their sums, and no mean of quotients.

    Attributes:
        tokens: generated tokens, prompts excluded, EOS included.
        nfe: forward evaluations by the reference's rules.
        rounds: verified drafts of speculative generations.
        round_tokens: tokens emitted by those rounds. The prefill's token belongs to no round, and tokens after EOS or a
            limit are not emitted.
        blocks: blocks that diffusion denoised.
        denoise_passes: passes over all of these blocks.
        seconds: wall time; 0 where nobody measured.
        engine_seconds: the part of it inside the engine.
    """

    tokens: int = 0
    nfe: int = 0
    rounds: int = 0
    round_tokens: int = 0
    blocks: int = 0
    denoise_passes: int = 0
    seconds: float = 0.0
    engine_seconds: float = 0.0

    @classmethod
    def of_generation(
        cls,
        tokens: int,
        nfe: int,
        accepted: Sequence[int],
        denoise_passes: Sequence[int],
        seconds: float | None = None,
        *,
        dropped: int = 0,
    ) -> Counts:
        """Counts of one generation, without its part of the engine's time.

        Args:
            accepted, denoise_passes, dropped: as in :class:`Counters`.
        """
        return cls(
            tokens=tokens,
            nfe=nfe,
            rounds=len(accepted),
            round_tokens=sum(accepted) - dropped,
            blocks=len(denoise_passes),
            denoise_passes=sum(denoise_passes),
            seconds=seconds or 0.0,
        )

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @classmethod
    def total(cls, counts: Iterable[Counts]) -> Counts:
        return sum(counts, cls())


@dataclass(frozen=True)
class Figure:
    """A figure of generations.

    Attributes:
        name: in JSON.
        header: of a column; it has the unit.
        meaning: for documentation.
        formula: gives None where the counts do not have the figure.
        cell: how a table writes it.
        phrase: how a sentence writes it.
        ratio: whether a change of the figure is told as the new value over the old one, and not as a difference.
    """

    name: str
    header: str
    meaning: str
    formula: Callable[[Counts], float | None]
    cell: str = "{:.2f}"
    phrase: str = ""
    ratio: bool = False

    def text(self, value: float | None) -> str:
        """``value`` in a table."""
        return "-" if value is None else self.cell.format(value)

    def change(self, old: float | None, new: float | None) -> str:
        """The step from ``old`` to ``new`` in a table."""
        if old is None or new is None:
            return "-"
        return f"×{new / old:.2f}" if self.ratio else self.cell.replace("{:", "{:+z").format(new - old)


def _quotient(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator else None


# Of whole generations, in the order of tables and sentences.
TOKENS_PER_FORWARD: Final = Figure(
    "tokens_per_forward",
    "tokens per forward",
    "generated tokens over `nfe`",
    # An error may end a request in its prefill, before a forward counts.
    lambda counts: _quotient(counts.tokens, counts.nfe) or 0.0,
    phrase="{:.2f} tokens per forward",
)
ACCEPTANCE_LENGTH: Final = Figure(
    "acceptance_length",
    "acceptance length",
    "tokens per verified draft",
    lambda counts: _quotient(counts.round_tokens, counts.rounds),
    phrase="acceptance length {:.2f}",
)
DENOISE_PASSES_PER_BLOCK: Final = Figure(
    "denoise_passes_per_block",
    "passes per block",
    "denoise passes over blocks",
    lambda counts: _quotient(counts.denoise_passes, counts.blocks),
)
TOKENS_PER_SECOND: Final = Figure(
    "tokens_per_second",
    "tokens/s",
    "generated tokens over wall time, prefill included",
    lambda counts: _quotient(counts.tokens, counts.seconds),
    cell="{:.0f}",
    phrase="{:.1f} tokens/s",
    ratio=True,
)
HOST_SHARE: Final = Figure(
    "host_share",
    "time outside the engine",
    "fraction of wall time outside the engine",
    lambda counts: None if not counts.seconds else 1 - counts.engine_seconds / counts.seconds,
    cell="{:.1%}",
)
FIGURES: Final = (
    TOKENS_PER_FORWARD,
    ACCEPTANCE_LENGTH,
    DENOISE_PASSES_PER_BLOCK,
    TOKENS_PER_SECOND,
    HOST_SHARE,
)


def figures_of(counts: Counts) -> dict[str, float | None]:
    """Every figure by its name."""
    return {figure.name: figure.formula(counts) for figure in FIGURES}


@dataclass
class Timing:
    """Clock readings of one request, in seconds, and the tokens that had come by then.

    Attributes:
        longest_gap: longest time between two chunks.
    """

    submitted: float
    first_chunk: float = 0.0
    first_tokens: int = 0
    last_chunk: float = 0.0
    tokens: int = 0
    longest_gap: float = 0.0

    def add(self, tokens: int, now: float) -> None:
        """Take in tokens that came at ``now``; a forward that brought none is no chunk."""
        if not tokens:
            return
        if not self.first_tokens:
            self.first_chunk, self.first_tokens = now, tokens
        else:
            self.longest_gap = max(self.longest_gap, now - self.last_chunk)
        self.last_chunk = now
        self.tokens += tokens

    @property
    def ttft(self) -> float:
        """Time to first token."""
        return self.first_chunk - self.submitted

    @property
    def latency(self) -> float:
        return self.last_chunk - self.submitted

    @property
    def itl(self) -> float | None:
        """Inter-token latency: seconds per token after the first chunk. None when one chunk held everything.

        A block brings many tokens at once, so that an interval between chunks would flatter every block mode.
        """
        return _quotient(self.last_chunk - self.first_chunk, self.tokens - self.first_tokens)


@dataclass(frozen=True)
class Latency:
    """A time of single requests, of which statistics are told, in milliseconds.

    Attributes:
        name: in JSON, before the name of a statistic.
        header: of a column, before the name of a statistic and the unit.
    """

    name: str
    header: str
    seconds: Callable[[Timing], float | None]

    def of(self, timings: Iterable[Timing]) -> list[float]:
        """Milliseconds of those requests that have this time."""
        return [found * 1e3 for timing in timings if (found := self.seconds(timing)) is not None]


TTFT: Final = Latency("ttft_ms", "TTFT", lambda timing: timing.ttft)
ITL: Final = Latency("itl_ms", "ITL", lambda timing: timing.itl)
REQUEST_LATENCY: Final = Latency("request_latency_ms", "latency", lambda timing: timing.latency)
LATENCIES: Final = (TTFT, ITL, REQUEST_LATENCY)


def summary(
    mode: str, tokens: int, figures: Mapping[str, float | None], *, seed: int | None, finish_reason: str
) -> str:
    """The line under an answer.

    Args:
        figures: by name; those without a phrase, or None, are left out.
    """
    order = (TOKENS_PER_SECOND, TOKENS_PER_FORWARD, ACCEPTANCE_LENGTH)
    told = [each.phrase.format(value) for each in order if (value := figures.get(each.name)) is not None]
    parts = [mode, f"{tokens} tokens", *told, *([] if seed is None else [f"seed {seed}"])]
    return f"[{', '.join(parts)}, finished by {finish_reason}]"

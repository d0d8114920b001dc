# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The result of one finished request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nld_trt import names
from nld_trt.decode.figures import ACCEPTANCE_LENGTH, TOKENS_PER_FORWARD, TOKENS_PER_SECOND, Counts, figures_of
from nld_trt.decode.row import Row
from nld_trt.errors import OperationError
from nld_trt.names import SPECULATIVE, ModeName


@dataclass(frozen=True)
class Result:
    """A finished generation.

    Attributes:
        output_ids: generated ids, prompt excluded, EOS kept.
        nfe: forward evaluations by the reference's rule for the mode (docs/model.md, Counting).
        accepted: tokens of each verify pass of modes that draft, before any cut.
        denoise_passes: diffusion: per block.
        cache_length: committed tokens in the cache at the end.
        seed: of the samples; None where nothing was sampled.
        error: why it ended, where ``finish_reason`` is ``error``; the tokens before are good.
        prompt_tokens: tokens of the prompt.
        cached_tokens: those of them whose keys and values were another request's.
        dropped: tokens of the last verify pass that were cut.
        mode_tokens: auto: generated tokens by the mode that made them.
        switches, last_switch: auto: how often mode or block length have changed, and why they last did.
        seconds: from the call to the last token, waiting for a row included; None where nobody measured.
        time_to_first_token: seconds from the call to the first committed tokens; None likewise, or without any.
    """

    mode: ModeName
    output_ids: list[int]
    text: str | None
    finish_reason: str
    nfe: int
    forwards: dict[str, int]
    accepted: list[int]
    denoise_passes: list[int]
    cache_length: int
    seed: int | None = None
    error: str | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    dropped: int = 0
    mode_tokens: dict[str, int] = field(default_factory=dict)
    switches: int = 0
    last_switch: str | None = None
    seconds: float | None = None
    time_to_first_token: float | None = None

    def __repr__(self) -> str:
        figures = {
            "tokens": len(self.output_ids),
            "finish_reason": self.finish_reason,
            "mode": self.mode,
            "tokens_per_forward": round(self.tokens_per_forward, 2),
            "acceptance_length": None if self.acceptance_length is None else round(self.acceptance_length, 2),
            "tokens_per_second": None if self.tokens_per_second is None else round(self.tokens_per_second, 1),
            "error": self.error,
        }
        shown = [f"{name}={value!r}" for name, value in figures.items() if value is not None]
        return f"Result({', '.join([repr(self.output_ids if self.text is None else self.text), *shown])})"

    @classmethod
    def of(cls, row: Row) -> Result:
        assert row.finish_reason is not None
        return cls(
            mode=row.request.mode,
            output_ids=row.emitted,
            text=row.text,
            finish_reason=row.finish_reason,
            nfe=row.nfe,
            forwards={str(kind): count for kind, count in row.counters.forwards.items()},
            accepted=row.counters.accepted,
            denoise_passes=row.counters.denoise_passes,
            cache_length=row.cache_length,
            seed=row.request.seed if row.request.samples else None,
            error=None if row.error is None else str(row.error),
            prompt_tokens=len(row.request.prompt_ids),
            cached_tokens=row.counters.cached_tokens,
            dropped=row.counters.dropped,
            mode_tokens={str(mode): count for mode, count in row.counters.tokens.items()} if row.request.auto else {},
            switches=row.counters.switches,
            last_switch=row.last_switch,
        )

    def or_raise(self) -> Result:
        """Return this result, unless the generation ended by an error.

        Raises:
            OperationError: it ended by an error.
        """
        if self.error is not None:
            raise OperationError(self.error)
        return self

    @property
    def tokens(self) -> list[int]:
        """The generated token ids, as ``output_ids``."""
        return self.output_ids

    @property
    def counts(self) -> Counts:
        """The counts of this generation; counts of several add up."""
        return Counts.of_generation(
            len(self.output_ids), self.nfe, self.accepted, self.denoise_passes, self.seconds, dropped=self.dropped
        )

    @property
    def figures(self) -> dict[str, float | None]:
        """Figures of ``decode.figures`` by name; None where this generation does not have one."""
        return figures_of(self.counts)

    @property
    def tokens_per_second(self) -> float | None:
        """Generated tokens over ``seconds``; None where nobody measured."""
        return self.figures[TOKENS_PER_SECOND.name]

    @property
    def tokens_per_forward(self) -> float:
        return self.figures[TOKENS_PER_FORWARD.name] or 0.0

    @property
    def acceptance_length(self) -> float | None:
        return self.figures[ACCEPTANCE_LENGTH.name]

    def to_line(self, request_id: object) -> dict[str, Any]:
        """The result as one line of a results file."""
        line: dict[str, Any] = {"id": request_id, "output_ids": self.output_ids}
        if self.text is not None:
            line["text"] = self.text
        line |= {"finish_reason": self.finish_reason, "nfe": self.nfe}
        if self.mode in (*SPECULATIVE, names.AUTO):
            line["accepted"] = self.accepted
        if self.mode == names.DIFFUSION or self.denoise_passes:
            line["denoise_passes"] = self.denoise_passes
        line["cache_len"] = self.cache_length
        if self.mode == names.AUTO:
            line |= {"mode_tokens": self.mode_tokens, "switches": self.switches}
        optional = {"seed": self.seed, "error": self.error}
        return line | {name: value for name, value in optional.items() if value is not None}

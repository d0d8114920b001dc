# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The settings of a sweep, as its user gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nld_trt import names
from nld_trt.files import sha256_of
from nld_trt.measure.prompt_lines import PromptLine
from nld_trt.measure.sweep.point import Workload


@dataclass(frozen=True)
class SweepSettings:
    """What a sweep measures, and how often.

    Attributes:
        modes: comma list of variants; None means all that the engine has.
        block_lengths: in tokens; None means each mode's own.
        concurrency: numbers of requests in flight.
        threshold: commit confidence in diffusion.
        requests: per repeat; the prompts are reused in their order. None means 16, or SPEED-Bench's conversations once.
        max_new_tokens: limit of each request.
        ignore_eos: generate exactly ``max_new_tokens``.
        warmup: untimed requests before each point.
        repeats: timed repeats of each point.
        chat_template: the template that was asked for when the engine was opened.
    """

    modes: str | None
    block_lengths: Sequence[int] | None
    concurrency: Sequence[int]
    threshold: float
    requests: int | None
    max_new_tokens: int
    ignore_eos: bool
    warmup: int
    repeats: int
    chat_template: str | None = None

    def workload(self, prompts: Path, lines: Sequence[PromptLine]) -> Workload:
        """The requests of every point, for the prompts file and its lines."""
        usual = names.DEFAULT_SWEEP_REQUESTS if lines[0].conversation is None else len(lines)
        return Workload(
            prompts.name,
            sha256_of(prompts),
            usual if self.requests is None else self.requests,
            self.max_new_tokens,
            self.ignore_eos,
            self.warmup,
            self.repeats,
        )

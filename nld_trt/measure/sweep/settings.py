# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The settings of a sweep, as its user gives them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nld_trt import names
from nld_trt.decode.scripted import Script
from nld_trt.errors import InputError
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
        request_rates: requests per second that arrive as a Poisson process, ``concurrency`` in flight at most; None
            for closed loops.
        script: what drafts are told to have had accepted; None for what the engine accepts.
        name: of the workload, if it has one.
        requests_per_user: at least so many requests for each one in flight; None for ``requests`` alone.
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
    request_rates: Sequence[float] | None = None
    script: Script | None = None
    name: str | None = None
    requests_per_user: int | None = None

    @property
    def loads(self) -> list[tuple[int, float | None]]:
        """Requests in flight, and the rate at which they arrive, of the points of one mode and block length."""
        rates = self.request_rates or (None,)
        return [(count, rate) for count in dict.fromkeys(self.concurrency) for rate in rates]

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
            scripted=None if self.script is None else self.script.source,
            name=self.name,
            requests_per_user=self.requests_per_user,
        )


def request_rates(text: str) -> list[float]:
    """Return the rates of a comma list, each once.

    Raises:
        InputError: the text is no such list.
    """
    try:
        rates = list(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        rates = []
    if not rates or not all(0 < rate < math.inf for rate in rates):
        raise InputError(
            f"--request-rate is {text!r}; it must be numbers above 0 with commas between them, such as 0.5,1,2"
        )
    return rates

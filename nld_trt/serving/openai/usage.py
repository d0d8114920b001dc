# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What an answer took: tokens as OpenAI counts them, and how well drafts were accepted, as AIPerf reads it."""

from __future__ import annotations

import json
from typing import Any

from nld_trt.serving.openai.request import Asked
from nld_trt.serving.triton.client import Chunk


class Tally:
    """Counts the chunks of one answer with all of its choices."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._prompt_tokens = [0] * asked.prompts
        self._cached_tokens: dict[int, int] = {}
        self.completion_tokens = 0
        self._last: list[Chunk] = []

    def add(self, choice: int, chunk: Chunk) -> None:
        self._prompt_tokens[self._asked.prompt_of(choice)] = chunk.num_input_tokens
        self.completion_tokens += chunk.tokens
        if chunk.finish_reason:
            self._last.append(chunk)
        if chunk.cached_tokens is not None:
            prompt = self._asked.prompt_of(choice)
            self._cached_tokens[prompt] = max(chunk.cached_tokens, self._cached_tokens.get(prompt, 0))

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompts, each counted once, whatever ``n`` is."""
        return sum(self._prompt_tokens)

    @property
    def usage(self) -> dict[str, Any]:
        """OpenAI's usage, so far. Counts of drafts are known at the end, and only in modes that draft."""
        usage: dict[str, Any] = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }
        if self._cached_tokens:
            usage["prompt_tokens_details"] = {"cached_tokens": sum(self._cached_tokens.values())}
        drafts = [speculation(chunk.acceptance_histogram) for chunk in self._last if chunk.acceptance_histogram]
        if drafts:
            accepted = sum(each["num_accepted_draft_tokens"] for each in drafts)
            drafted = sum(each["num_draft_tokens"] for each in drafts)
            usage["completion_tokens_details"] = {
                "accepted_prediction_tokens": accepted,
                "rejected_prediction_tokens": drafted - accepted,
            }
        return usage

    @property
    def metrics(self) -> dict[str, Any]:
        """How the answer was decoded. Empty for several choices, of which AIPerf has no form."""
        if len(self._asked.inputs) != 1 or not self._last:
            return {}
        (last,) = self._last
        told: dict[str, Any] = {
            "mode": last.mode,
            "mode_tokens": None if last.mode_tokens is None else json.loads(last.mode_tokens),
            "mode_switches": last.mode_switches,
            "mode_reason": last.mode_reason,
            "tokens_per_forward": _rounded(last.tokens_per_forward),
            "acceptance_length": _rounded(last.acceptance_length),
            "nfe": last.nfe,
            "seed": last.seed,
        }
        if last.acceptance_histogram:
            told["speculative_decoding"] = speculation(last.acceptance_histogram)
        return {name: value for name, value in told.items() if value is not None}


def speculation(histogram: tuple[int, ...]) -> dict[str, Any]:
    """Returns AIPerf's object for drafts of which 0, 1, 2, … tokens were accepted.

    Every draft is as long as the list allows. ``mean_acceptance_length`` counts the verifier's own token as well.
    """
    steps, longest = sum(histogram), len(histogram) - 1
    accepted = sum(length * count for length, count in enumerate(histogram))
    drafted = steps * longest
    return {
        "mean_acceptance_length": 1 + accepted / steps,
        "draft_acceptance_rate": accepted / drafted if drafted else 0.0,
        "acceptance_histogram": list(histogram),
        "num_accepted_draft_tokens": accepted,
        "num_draft_tokens": drafted,
        "num_spec_steps": steps,
        "num_spec_tokens": longest,
    }


def _rounded(figure: float | None) -> float | None:
    """Returns a figure without the digits that float32, in which it was sent, does not have."""
    return None if figure is None else round(figure, 4)

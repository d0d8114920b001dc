# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Quadratic self-speculation verifies a draft and drafts after every token of it, all in one pass.

Source: docs/model.md, Quadratic self-speculation.
"""

from __future__ import annotations

from nld_trt import names
from nld_trt.decode.modes.base import Outcome, Pass, RowState


class QuadraticSpeculation:
    """Every emitted token is the causal verifier's, so the text equals AR, as in linear self-speculation.

    A pass holds k drafted tokens, the seed first, and k masks behind each of them. Wherever the verifier stops, the
    masks behind the last accepted token have drafted what follows: no pass is spent on drafting alone but the first.
    """

    def __init__(self, state: RowState) -> None:
        self.state = state
        self.drafts: list[int] = []

    def start(self) -> list[int]:
        self.state.seed_emitted = True
        if self.state.block_length == 1:
            self.drafts = [self.state.seed]
        return [self.state.seed]

    def next_pass(self) -> Pass:
        request, mask = self.state.request, self.state.mask_token_id
        length = self.state.block_length
        if not self.drafts:
            return Pass(
                "draft",
                [self.state.seed] + [mask] * (length - 1),
                causal=False,
                all_logits=True,
                adapter=bool(request.lora),
                threshold=0.0,
                quota=1,
            )
        return Pass(
            names.QUADRATIC,
            self.drafts + [mask] * length**2,
            causal=True,
            all_logits=True,
            adapter=bool(request.lora),
            segments=length,
            threshold=0.0,
            quota=1,
            program=names.QUADRATIC,
        )

    def advance(self, outcome: Outcome) -> list[int]:
        if not self.drafts:
            self.drafts = outcome.block_tokens
            return []
        state = self.state
        accepted = outcome.verified_tokens[: outcome.accepted_count]
        state.counters.accepted.append(len(accepted))
        state.cache_length += len(accepted)
        state.seed = accepted[-1]
        # The masks behind draft i start at i * k + k. The first of them stands where the seed goes.
        start = len(accepted) * state.block_length
        self.drafts = [state.seed, *outcome.block_tokens[start + 1 : start + state.block_length]]
        return accepted

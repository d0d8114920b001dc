# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Linear self-speculation drafts a block bidirectionally and verifies it causally.

Source: docs/model.md, Linear self-speculation.
"""

from __future__ import annotations

from nld_trt import names
from nld_trt.decode.modes.base import Candidates, Outcome, Pass, RowState


class LinearSpeculation:
    """Every emitted token is the causal verifier's, so the text equals that of AR: greedily, and with the
    acceptance rule ``match`` at a temperature too.

    The last round is never shortened: rounds and their acceptance stay comparable, and the surplus is cut.
    """

    def __init__(self, state: RowState) -> None:
        self.state = state
        self.block: list[int] = []
        self.drafting = False
        self.candidates: Candidates | None = None

    def start(self) -> list[int]:
        self.state.seed_emitted = True
        return [self.state.seed]

    def next_pass(self) -> Pass:
        if not self.block:
            self._open_round()
        request = self.state.request
        return Pass(
            "draft" if self.drafting else "verify",
            self.block,
            causal=not self.drafting,
            all_logits=True,
            adapter=bool(request.lora),
            threshold=request.threshold or 0.0,
            quota=1,
            candidates=self.candidates,
            program=names.LINEAR,
        )

    def advance(self, outcome: Outcome) -> list[int]:
        if self.drafting:
            self.block = outcome.block_tokens
            self.candidates = outcome.candidates
            self.drafting = outcome.masks_left > 0
            return []
        accepted = outcome.verified_tokens[: outcome.accepted_count]
        state = self.state
        state.counters.accepted.append(len(accepted))
        state.cache_length += len(accepted)
        state.seed = accepted[-1]
        self.block = []
        self.candidates = None
        return accepted

    def _open_round(self) -> None:
        length = self.state.block_length
        self.block = [self.state.seed] + [self.state.mask_token_id] * (length - 1)
        self.drafting = length > 1

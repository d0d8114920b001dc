# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Autoregressive decoding: one causal token per forward (docs/model.md, Autoregressive decoding)."""

from __future__ import annotations

from nld_trt.decode.modes.base import Outcome, Pass, RowState


class Autoregressive:
    def __init__(self, state: RowState) -> None:
        self.state = state

    def start(self) -> list[int]:
        return self._emit_seed()

    def next_pass(self) -> Pass:
        forced = self.state.request.max_thinking_tokens is not None
        program = "hold" if forced else "token"
        return Pass("token", [self.state.seed], causal=True, all_logits=False, program=program)

    def advance(self, outcome: Outcome) -> list[int]:
        self.state.cache_length += 1
        self.state.seed = outcome.verified_tokens[0]
        return self._emit_seed()

    def _emit_seed(self) -> list[int]:
        request, emitted = self.state.request, self.state.emitted
        budget, marker = request.max_thinking_tokens, request.end_think_token_id
        if budget is not None and marker is not None and len(emitted) >= budget and marker not in emitted:
            self.state.seed = marker
        self.state.seed_emitted = True
        return [self.state.seed]

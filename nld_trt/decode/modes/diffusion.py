# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Block diffusion: denoise a block by confidence, then commit it causally (docs/model.md, Diffusion)."""

from __future__ import annotations

from nld_trt import names
from nld_trt.decode.modes.base import UNREACHABLE, Outcome, Pass, RowState


class BlockDiffusion:
    """Blocks start with the seed and otherwise masked. The last block is denoised whole and cut afterwards."""

    def __init__(self, state: RowState) -> None:
        self.state = state
        self.block: list[int] = []
        self.denoising = False
        self.program = "hold" if state.request.max_thinking_tokens is not None else names.DIFFUSION

    def start(self) -> list[int]:
        return []

    def next_pass(self) -> Pass:
        if not self.block:
            self._open_block()
        threshold = self.state.request.threshold
        # A block has fewer masks than slots, so the reference's quota schedule is one commit per pass.
        return Pass(
            "denoise" if self.denoising else "commit",
            self.block,
            causal=not self.denoising,
            all_logits=True,
            threshold=UNREACHABLE if threshold is None else threshold,
            quota=1,
            # Each step draws anew what it does not commit, as the reference does.
            draw=self.state.counters.denoise_passes[-1] if self.denoising else 0,
            program=self.program,
        )

    def advance(self, outcome: Outcome) -> list[int]:
        if self.denoising:
            self.block = outcome.block_tokens
            self.state.counters.denoise_passes[-1] += 1
            self.denoising = outcome.masks_left > 0 and not self._ends_in_eos()
            return []
        finished, self.block = self.block, []
        self.state.cache_length += len(finished)
        self.state.seed = outcome.verified_tokens[-1]
        self.state.seed_emitted = False
        return finished

    def _open_block(self) -> None:
        state = self.state
        length = state.block_length
        self.block = [state.seed] + [state.mask_token_id] * (length - 1)
        budget, marker = state.request.max_thinking_tokens, state.request.end_think_token_id
        before = len(state.emitted)
        if budget is not None and marker is not None and budget < before + length and marker not in state.emitted:
            self.block[max(0, budget - before)] = marker
        self.denoising = state.mask_token_id in self.block
        state.counters.denoise_passes.append(0)

    def _ends_in_eos(self) -> bool:
        """Whether the answer is complete: EOS with no mask before it."""
        ends, mask = self.state.request.eos_token_ids, self.state.mask_token_id
        # Whichever comes first, an EOS or a mask.
        return next((token for token in self.block if token == mask or token in ends), mask) != mask

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Diffusion over a whole canvas: what families decode by whose every token sees prompt and answer (``model.family``).

The canvas is the prompt and a mask for every token that may be generated. Each pass is over all of it, from slot 0 of
the row's caches on, and nothing of a pass is of use to the next. Blocks are filled from left to right: only masks of
the first block that has any may be committed, by confidence, and the next block begins when none of them is left.

With a block cache (Wu et al., "Fast-dLLM: training-free acceleration of diffusion LLM by enabling KV cache and parallel
decoding", 2025, its prefix cache) only the first pass of a block is over the whole canvas. The others are over the
block and what follows it: keys and values of what is before stay as the first pass has computed them, although they
depend on the tokens that are committed meanwhile. The text is then another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nld_trt import names
from nld_trt.decode.figures import Counters
from nld_trt.decode.fill import Outcome, Pass
from nld_trt.decode.modes import BlockDiffusion
from nld_trt.decode.request import ResolvedRequest
from nld_trt.decode.row import Emission, Row
from nld_trt.model.text.streaming import TextStream


class CanvasDiffusion(BlockDiffusion):
    """Blocks of a canvas, whose passes the host makes: one of the next is wider than its window."""

    def __init__(self, request: ResolvedRequest, mask_token_id: int) -> None:
        super().__init__(request, mask_token_id)
        self.settings = replace(self.settings, program=names.HOLD)

    @property
    def widest(self) -> int:
        return self.request.slots_kept

    def quota(self, masks: int, passes: int) -> int:
        """Masks that a pass commits at least.

        Args:
            masks: of the block when it began.
            passes: that the block has had.
        """
        if self.request.steps is None:
            return 1
        share, rest = divmod(masks, self.request.steps)
        return max(1, share + (passes < rest))

    def count(self, counters: Counters, part: Pass, outcome: Outcome) -> None:
        # The first pass of a block takes the first samples.
        if part.sample == 0:
            counters.denoise_passes.append(0)
        counters.forwards[names.DENOISE] += 1
        counters.denoise_passes[-1] += outcome.finite


class CanvasRow(Row):
    """A request that is decoded over its canvas.

    Args:
        shifted: predictions stand one place before their token (``model.family``).

    Attributes:
        waits_since: the forward of the batch that it was last part of.
    """

    def __init__(
        self,
        request: ResolvedRequest,
        mask_token_id: int,
        text: TextStream | None,
        *,
        number: int = 0,
        shifted: bool = False,
    ) -> None:
        super().__init__(request, mask_token_id, text, number=number)
        self.mode: CanvasDiffusion = CanvasDiffusion(request, mask_token_id)
        self.waits_since = 0
        self._shift = int(shifted)
        self._tokens = [*request.prompt_ids, *[mask_token_id] * request.max_new_tokens]
        self._block = self._block_at(len(request.prompt_ids))
        self._pending = self._pass(0)

    @property
    def in_prefill(self) -> bool:
        """False: the prompt is part of every pass."""
        return False

    @property
    def prompt_left(self) -> int:
        return 0

    @property
    def cache_length(self) -> int:
        """Tokens whose keys and values the next pass reads as they are. To other requests none is of use."""
        return 0 if self.finish_reason is not None else self.pending.cache_length

    @property
    def goes_on(self) -> bool:
        return False

    def next_pass(self, chunk: int) -> Pass:
        return self.pending

    def advance(self, outcome: Outcome) -> Emission:
        part = self.pending
        self.spoiled = self.spoiled or not outcome.finite
        self.mode.count(self.counters, part, outcome)
        if not outcome.finite:
            return self._fail(names.DENOISE)
        block = outcome.block_tokens
        self._tokens[self._block.start : self._block.stop] = block
        if not self._is_filled(block):
            self._pending = self._pass(part.sample + 1)
            return Emission(self, [], "", None)
        emission = self._emit(block)
        if self.finish_reason is None:
            self._block = self._block_at(self._block.stop)
            self._pending = self._pass(0)
        return emission

    def _block_at(self, first: int) -> range:
        """The places of the block that begins at ``first``; the last one may be shorter."""
        return range(first, min(first + self.mode.block_length, len(self._tokens)))

    def _is_filled(self, block: Sequence[int]) -> bool:
        """Whether no mask is left that must be filled. Those after an EOS are not part of the answer."""
        for token in block:
            if token in self.request.eos_token_ids:
                return True
            if token == self._mask_token_id:
                return False
        return True

    def _pass(self, passes: int) -> Pass:
        """The next pass of the block, which has had ``passes``."""
        block = self._block
        # A token whose prediction is wanted is among the new ones, with the place that its prediction stands at.
        cached = block.start - self._shift if self.request.block_cache and passes else 0
        return Pass(
            tuple(self._tokens[cached:]), cached, causal=False, wanted=range(block.start - cached, block.stop - cached),
            sample=passes, tokens_left=self.tokens_left,
            settings=replace(self.mode.settings, quota=self.mode.quota(len(block), passes)),
        )  # fmt: skip

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``Advance``: a row's next pass from the results of this one, so that a loop can go on without asking the host.

docs/model.md says what each mode does with a pass, from "Autoregressive decoding" to "Quadratic self-speculation". This
is the only place that defines it in code: ``nld_trt.decode.modes`` opens a request, and where the rows of a batch
change the host copies what is computed here. The kernel in plugins/next_pass.h does the same; tests compare the two.

A row repeats this pass if its program is "hold", if it may commit no more tokens (``tokens_left`` is 0), once this
pass has committed EOS or the last token that it may, and where its logits are not finite. ``next_tokens_left`` is 0
once it has ended.
Repeating a pass changes nothing: it writes the same values to the same cache slots.

Shapes: B rows, W window tokens, k drafts of a quadratic pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
from onnx import FunctionProto

from nld_trt import names
from nld_trt.graph.step.function import make_function
from nld_trt.graph.step.tensors import PROGRAMS, Operator
from nld_trt.graph.step.window import Window
from nld_trt.graph.tape import Value, maximum, minimum, where


@dataclass(frozen=True)
class Pass:
    """A pass and its results: tensors of ``step.tensors``, all of them inputs of the operator."""

    block: Value
    cache_length: Value
    valid_count: Value
    causal: Value
    segments: Value
    sample: Value
    eos_token_id: Value
    program: Value
    tokens_left: Value
    block_tokens: Value
    masks_left: Value
    verified_tokens: Value
    accepted_count: Value
    bonus_token: Value
    eos_position: Value
    finite: Value

    def runs(self, program: str) -> Value:
        """[B] bool: the row's program is ``program``, one of PROGRAMS."""
        return self.program.equals(PROGRAMS.index(program))


@dataclass(frozen=True)
class Outcome:
    """What the results of a pass mean for the next one.

    Attributes:
        filled: [B] bool, a bidirectional pass leaves no mask that must be filled.
        bonus: [B] int32, the bonus token: the first token of the next block, which a causal pass has decided; in
            blocks that begin without one it is MASK.
        committed: [B] int32, tokens that a causal pass commits.
        ends: [B] bool, a causal pass commits EOS.
    """

    filled: Value
    bonus: Value
    committed: Value
    ends: Value


ADVANCE = Operator(
    "Advance",
    inputs=tuple(field.name for field in fields(Pass)),
    outputs=("next_tokens", "next_cache_length", "next_causal", "next_sample", "next_tokens_left"),
)


def advance(mask_token_id: int, *, blocks: bool = False) -> FunctionProto:
    """The operator as an ONNX function.

    Args:
        blocks: rows may have the program "blocks". A function without it is smaller.
    """

    def body(**inputs: Value) -> Mapping[str, Value]:
        this = Pass(**inputs)
        window = Window.of(this.block)
        active = (this.program > PROGRAMS.index(names.HOLD)) & (this.tokens_left > 0)
        real, is_diffusion = window.leading(this.valid_count), this.runs(names.DIFFUSION)
        mask = this.block.tape.constant(mask_token_id, np.int32)
        masks = where(real, mask, 0)
        if blocks:
            is_diffusion = is_diffusion | this.runs(names.BLOCKS)
        outcome = _outcome(this, window, real, is_diffusion, mask_token_id)
        if blocks:
            outcome = replace(outcome, bonus=where(this.runs(names.BLOCKS), mask, outcome.bonus))
        left_after = this.tokens_left - outcome.committed
        ended = this.causal & (outcome.ends | (left_after <= 0))
        # From logits that are not finite the kernels choose -1, which is no place in the embedding.
        continues = active & ~ended & this.finite.cast(np.bool_)

        # A block of a bonus token alone has nothing to draft or denoise. Quadratic passes draft by themselves.
        causal_next = this.runs(names.QUADRATIC) | this.valid_count.equals(1)
        if blocks:
            causal_next = causal_next & ~this.runs(names.BLOCKS)
        denoises_again = is_diffusion & ~(this.causal | outcome.filled)
        commits = continues & this.causal
        return {
            "next_tokens": where(continues.column(), _next_block(this, window, outcome, masks), this.block),
            "next_cache_length": this.cache_length + where(commits, outcome.committed, 0),
            "next_causal": where(continues, where(this.causal, causal_next, outcome.filled), this.causal),
            "next_sample": where(continues, where(denoises_again, this.sample + 1, 0), this.sample),
            "next_tokens_left": where(
                continues, where(this.causal, left_after, this.tokens_left), where(active, 0, this.tokens_left)
            ),
        }

    return make_function(ADVANCE, body)


def _outcome(this: Pass, window: Window, real: Value, is_diffusion: Value, mask_token_id: int) -> Outcome:
    """``real`` [B, W] bool are the slots of new tokens, ``is_diffusion`` [B] bool the rows in diffusion."""
    no_masks, verified_eos = this.masks_left.equals(0), this.eos_position < window.width

    # A diffusion block is committed whole. An answer that is complete needs none of the masks after its EOS.
    masks = this.block.tape.constant([[mask_token_id]], np.int32)
    first_eos = window.first(this.block_tokens, this.eos_token_id, among=real)
    complete = first_eos < window.first(this.block_tokens, masks, among=real)
    # Rows that stand still may have more new tokens than window slots.
    last_slot = maximum(minimum(this.valid_count, window.width), 1) - 1
    last_token = this.verified_tokens.take_along(last_slot.column(), axis=1).squeeze(1)
    block_eos = window.first(this.block, this.eos_token_id, among=real) < window.width
    return Outcome(
        filled=no_masks | (is_diffusion & complete),
        bonus=where(is_diffusion, last_token, this.bonus_token),
        committed=where(is_diffusion, this.valid_count, this.accepted_count),
        ends=where(is_diffusion, block_eos, verified_eos),
    )


def _next_block(this: Pass, window: Window, outcome: Outcome, masks: Value) -> Value:
    """[B, W] int32: after a bidirectional pass the denoised block, after a causal one the bonus token and ``masks``."""
    opened = where(window.slots.equals(0), outcome.bonus.column(), _redrafted(this, window, masks))
    return where(this.causal.column(), opened, this.block_tokens)


def _redrafted(this: Pass, window: Window, rest: Value) -> Value:
    """``rest`` [B, W] with the drafts of the next quadratic pass: those of the masks after the last accepted token.

    After draft i = accepted - 1 the masks start at slot k + i * k, and mask j + 1 predicts what becomes draft j: mask 1
    stands where the bonus token goes. In rows of other passes k is 0, and nothing changes.
    """
    count = this.segments.column()
    is_draft = window.slots < count
    source = where(is_draft, this.accepted_count.column() * count + window.slots, 0)
    return where(is_draft, this.block_tokens.take_along(source, axis=1), rest)

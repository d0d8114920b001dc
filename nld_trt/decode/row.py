# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""One request in a batch: its prefill, then the passes that the engine makes, until something stops it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from nld_trt import names
from nld_trt.decode.figures import Counters
from nld_trt.decode.fill import UNREACHABLE, Outcome, Pass
from nld_trt.decode.modes import AlignedDiffusion, Mode, ThinkingBudget, mode_of
from nld_trt.decode.request import ResolvedRequest
from nld_trt.errors import OperationError
from nld_trt.model.text.streaming import TextStream
from nld_trt.names import SPECULATIVE, ModeName, PassKind

FinishReason = Literal["stop", "length", "cancelled", "error"]


@dataclass(frozen=True)
class Emission:
    """The tokens and the text that one forward added to one request.

    Attributes:
        tokens: newly committed tokens, possibly none (a denoise pass, a prefill chunk).
        text: newly final text; text that may still turn into a stop string is held back.
        finish_reason: set on the last emission.
        error: why the request could not go on; set where ``finish_reason`` is ``error``.
    """

    row: Row
    tokens: list[int]
    text: str
    finish_reason: FinishReason | None
    error: OperationError | None = None


class Row:
    """The life of one request. It knows its own tokens and lengths, and not who shares its batch.

    Attributes:
        number: of the request, in the order in which they came.
        emitted: generated tokens, prompt excluded.
        mode: in which it is decoded; of a request of mode auto, for the time being.
        begins_round: the pending pass is the first after what was committed last.
        last_switch: why the mode of a request of mode auto has last changed.
        spoiled: a pass gave logits that are not finite, so that the cache may hold such numbers too.
    """

    def __init__(
        self, request: ResolvedRequest, mask_token_id: int, text: TextStream | None, *, number: int = 0
    ) -> None:
        self.request = request
        self.number = number
        self._mask_token_id = mask_token_id
        self.mode = self._mode(names.AR, 1) if request.auto else mode_of(request, mask_token_id)
        self.emitted: list[int] = []
        self.counters = Counters()
        self.spoiled = False
        self.finish_reason: FinishReason | None = None
        self.error: OperationError | None = None
        self._budget: ThinkingBudget | None = None
        if request.max_thinking_tokens is not None and request.end_think_token_id is not None:
            self._budget = ThinkingBudget(request.max_thinking_tokens, request.end_think_token_id)
        self._text = text
        self.begins_round = False
        self.last_switch: str | None = None
        # How many tokens that were emitted before, or are the prompt's, the block that is being decoded begins with.
        self._repeats = 0
        self._cached = 0
        self._pending: Pass | None = None
        self._prefill_settings = replace(
            self.mode.settings, program=names.HOLD, adapter=False, threshold=UNREACHABLE, quota=0, segments=0
        )

    @property
    def text(self) -> str | None:
        """The text of what was emitted until now; None without a tokenizer."""
        return None if self._text is None else self._text.text

    @property
    def nfe(self) -> int:
        return self.counters.nfe(self.request.mode, len(self.emitted))

    @property
    def in_prefill(self) -> bool:
        return self._cached < self.prefill_length

    @property
    def prefill_length(self) -> int:
        """Prompt tokens that prefill passes compute: all, or those of whole blocks where these see themselves."""
        length = len(self.request.prompt_ids)
        return length - length % self.mode.unit

    @property
    def pending(self) -> Pass:
        """The row's part of the forward that was filled last, or that the engine makes by itself."""
        assert self._pending is not None
        return self._pending

    @property
    def cache_length(self) -> int:
        """Committed tokens in the cache."""
        return self._cached

    @property
    def goes_on(self) -> bool:
        """Whether the pass after the pending one is the engine's, and the host certainly leaves it as it is."""
        forces = self._budget is not None and self._budget.marker not in self.emitted
        return self.pending.settings == self.mode.settings and not forces

    @property
    def tokens_left(self) -> int:
        """Tokens that may still be emitted."""
        return self.request.max_new_tokens - len(self.emitted)

    @property
    def prompt_left(self) -> int:
        """Prompt tokens that are not in the cache."""
        return max(0, self.prefill_length - self._cached)

    @property
    def widest(self) -> int:
        """The most tokens of a pass after the prompt."""
        return self.mode.widest

    def begin_after(self, cached: int) -> None:
        """Take the keys and values of the prompt's first ``cached`` tokens as they are in the row's cache."""
        self._cached = self.counters.cached_tokens = cached
        if isinstance(self.mode, AlignedDiffusion) and not self.in_prefill:
            self._open(self.mode)

    def switch(self, mode: ModeName, block_length: int, reason: str) -> Emission | None:
        """Decode a request of mode auto in another way from the round on that begins now.

        Returns what that emits: diffusion has decided a token which it would have emitted with its next block.
        """
        assert self.begins_round
        if (self.mode.request.mode, self.mode.block_length) == (mode, block_length):
            return None
        before, self.mode = self.mode, self._mode(mode, block_length)
        self.counters.switches += 1
        self.last_switch = reason
        emission = None
        bonus_token = self.pending.tokens[0]
        if before.emits_bonus_token and not self.mode.emits_bonus_token:
            self._repeats = 1
        elif self.mode.emits_bonus_token and not before.emits_bonus_token:
            if not self._repeats:
                emission = self._emit([bonus_token])
            self._repeats = 0
        if self.finish_reason is None:
            self._pending = replace(
                self.mode.opening(bonus_token),
                cache_length=self._cached,
                tokens_left=self.tokens_left + self._repeats,
            )
        return emission

    def next_width(self, chunk: int) -> int:
        """Tokens of the row's part of the next forward: see :meth:`next_pass`."""
        if not self.in_prefill:
            return self.pending.width
        unit = self.mode.unit
        return min(max(unit, chunk - chunk % unit), self.prefill_length - self._cached)

    def next_pass(self, chunk: int) -> Pass:
        """The row's part of the next forward; a prefill pass takes at most ``chunk`` tokens, or one block."""
        if self.in_prefill:
            prompt = self.request.prompt_ids
            tokens = prompt[self._cached : self._cached + self.next_width(chunk)]
            following = self._cached + len(tokens)
            self._pending = Pass(
                tokens, self._cached, wanted=(len(tokens) - 1,), tokens_left=self.tokens_left,
                next_token=prompt[following] if following < len(prompt) else None, settings=self._prefill_settings,
            )  # fmt: skip
        return self.pending

    def advance(self, outcome: Outcome) -> Emission:
        """Take in the results of the pending pass, and with them the next one."""
        part = self.pending
        self.spoiled = self.spoiled or not outcome.finite
        if self.in_prefill:
            return self._prefilled(part, outcome)
        self.mode.count(self.counters, part, outcome)
        self.begins_round = False
        if not outcome.finite:
            return self._fail(self.mode.kind(part))
        if outcome.following is None:
            following = self.mode.second(outcome)
            self._pending = replace(following, cache_length=self._cached, tokens_left=self.tokens_left)
        elif part.causal:
            # The first block after a prompt may have had other settings.
            following = replace(outcome.following, settings=self.mode.settings)
            return self._commit(self.mode.committed(part, outcome), following)
        else:
            self._pending = outcome.following
        return Emission(self, [], "", None)

    def cancel(self) -> Emission:
        self.finish_reason = "cancelled"
        return Emission(self, [], self._text.finish() if self._text else "", self.finish_reason)

    def _mode(self, mode: ModeName, block_length: int) -> Mode:
        return mode_of(self.request.as_mode(mode, block_length), self._mask_token_id)

    def _prefilled(self, part: Pass, outcome: Outcome) -> Emission:
        """Take in a prefill pass. The last one decides the first bonus token."""
        self.counters.forwards[names.PREFILL] += 1
        cached = self._cached + len(part.tokens)
        if cached < self.prefill_length:
            # Logits in the middle of a prompt are not read, finite or not.
            self._cached = cached
            return Emission(self, [], "", None)
        if not outcome.finite:
            return self._fail(names.PREFILL)
        self._cached = cached
        if isinstance(self.mode, AlignedDiffusion):
            self._open(self.mode)
            return Emission(self, [], "", None)
        bonus_token = outcome.verified_tokens[0]
        tokens = [bonus_token] if self.mode.emits_bonus_token else []
        opening = replace(
            self.mode.opening(bonus_token, outcome.drafts),
            cache_length=cached,
            tokens_left=self.tokens_left - len(tokens),
        )
        return self._commit(tokens, opening)

    def _open(self, mode: AlignedDiffusion) -> None:
        """Make the first pass of a row whose prefill decides no token: its block begins with the rest of the prompt."""
        known = self.request.prompt_ids[self._cached :]
        self._repeats = len(known)
        opening = mode.first(known)
        if self._budget is not None:
            opening = self._budget.forced(opening, (), self._mask_token_id, len(known))
        self._pending = replace(opening, cache_length=self._cached, tokens_left=self.tokens_left + len(known))

    def _commit(self, tokens: list[int], following: Pass) -> Emission:
        """Emit what a causal pass committed. ``following`` is the next pass unless that ends the request."""
        if self._budget is not None:
            emits_bonus = self.mode.emits_bonus_token
            before = [*self.emitted, *(tokens[:-1] if emits_bonus else tokens)]
            forced = self._budget.forced(following, before, self.mode.mask_token_id)
            if emits_bonus and forced is not following:
                tokens = [*tokens[:-1], self._budget.marker]
            following = forced
        tokens, self._repeats = tokens[self._repeats :], 0
        emission = self._emit(tokens)
        if self.finish_reason is None:
            self.begins_round = True
            assert following.tokens_left == self.tokens_left, "the engine and the host disagree on what was committed"
            self._pending = following
            self._cached = following.cache_length
        return emission

    def _fail(self, kind: PassKind) -> Emission:
        """End the request, because the pending pass gave no logits to choose a token from. Emitted tokens stay."""
        part = self.pending
        position = part.cache_length + (0 if part.wanted is None else part.wanted[0])
        self.finish_reason = "error"
        self.error = OperationError(
            f"logits are not finite in a {kind} pass at position {position}: the engine's numbers overflow, "
            "or the checkpoint holds numbers that are not finite",
            fix="Rebuild with another --precision of nld-trt build. In fp32 the checkpoint is at fault.",
        )
        return Emission(self, [], self._text.finish() if self._text else "", self.finish_reason, self.error)

    def _emit(self, tokens: list[int]) -> Emission:
        """Append tokens one by one until a stop condition holds; the rest is dropped."""
        added: list[int] = []
        text = ""
        for token in tokens:
            added.append(token)
            self.emitted.append(token)
            is_eos = token in self.request.eos_token_ids
            if self._text is not None and not is_eos:
                text += self._text.push(token)
            if is_eos or (self._text is not None and self._text.stopped):
                self.finish_reason = "stop"
            elif not self.tokens_left:
                self.finish_reason = "length"
            if self.finish_reason is not None:
                # Tokens after a cut do not count as cached, and neither does a bonus token.
                cached = len(self.request.prompt_ids) + len(self.emitted) - self.mode.emits_bonus_token
                # Nor do tokens that have seen others after the cut.
                self._cached = cached - cached % self.mode.unit
                break
        if self.finish_reason is not None and self._text is not None:
            text += self._text.finish()
        mode = self.mode.request.mode
        self.counters.tokens[mode] += len(added)
        if mode in SPECULATIVE and self.counters.accepted:
            self.counters.dropped = len(tokens) - len(added)
        return Emission(self, added, text, self.finish_reason)

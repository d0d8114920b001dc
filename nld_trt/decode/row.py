# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""One request in a batch: prefill, then its mode's passes, until something stops it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nld_trt import names
from nld_trt.decode.counters import Counters
from nld_trt.decode.modes import MODE_TYPES
from nld_trt.decode.modes.base import Outcome, Pass, RowState
from nld_trt.decode.request import Request
from nld_trt.decode.sampling import engine_values
from nld_trt.errors import OperationError
from nld_trt.graph.contract import quadratic_width
from nld_trt.model.text.streaming import TextStream

FinishReason = Literal["stop", "length", "cancelled", "error"]


@dataclass(frozen=True)
class Emission:
    """What one forward added to one request.

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
    """The life of one request. Knows its own tokens and lengths, not who shares its batch.

    Attributes:
        spoiled: a pass gave logits that are not finite, so its cache may hold such numbers too.
    """

    def __init__(self, request: Request, mask_token_id: int, text: TextStream | None) -> None:
        assert request.block_length is not None
        assert request.max_new_tokens is not None
        self.request = request
        self.max_new_tokens = request.max_new_tokens
        self.state = RowState(request, mask_token_id, request.block_length)
        self.mode = MODE_TYPES[request.mode](self.state)
        self.sampling = engine_values(request.sampling)
        self.spoiled = False
        self.finish_reason: FinishReason | None = None
        self.error: OperationError | None = None
        self._text = text
        self._pending: Pass | None = None

    @property
    def emitted(self) -> list[int]:
        return self.state.emitted

    @property
    def counters(self) -> Counters:
        return self.state.counters

    @property
    def text(self) -> str | None:
        """The emissions' text until now; None without a tokenizer."""
        return None if self._text is None else self._text.text

    @property
    def nfe(self) -> int:
        return self.counters.nfe(self.request.mode, len(self.emitted))

    @property
    def in_prefill(self) -> bool:
        return self.state.cache_length < len(self.request.prompt_ids)

    @property
    def pending(self) -> Pass:
        """The pass that :meth:`next_pass` gave last."""
        assert self._pending is not None
        return self._pending

    @property
    def room(self) -> int:
        """Tokens that may still be emitted."""
        return self.max_new_tokens - len(self.emitted)

    @property
    def draws(self) -> bool:
        """Whether its tokens are not simply the likeliest."""
        return self.request.samples or self.request.ensemble < 1

    @property
    def slots_kept(self) -> int:
        """Cache slots that this request fills at most."""
        return len(self.request.prompt_ids) + self.max_new_tokens

    @property
    def overhang(self) -> int:
        """Slots that a pass may write behind those: the last is written whole and cut afterwards."""
        length = self.state.block_length
        return quadratic_width(length) if self.request.mode == names.QUADRATIC else length

    def next_pass(self, chunk: int) -> Pass:
        """This row's part of the next forward; a prefill pass takes at most ``chunk`` tokens."""
        if self.in_prefill:
            start = self.state.cache_length
            tokens = self.request.prompt_ids[start : start + chunk]
            self._pending = Pass("prefill", tokens, causal=True, all_logits=False)
        else:
            self._pending = self.mode.next_pass()
        return self._pending

    def advance(self, outcome: Outcome) -> Emission:
        """Take in the results of the pass that :meth:`next_pass` gave."""
        part = self.pending
        self.counters.forwards[part.kind] += 1
        count = len(part.tokens)
        prompt_goes_on = self.in_prefill and self.state.cache_length + count < len(self.request.prompt_ids)
        self.spoiled = self.spoiled or not outcome.finite
        # Nobody reads the logits behind the middle of a prompt.
        if not outcome.finite and not prompt_goes_on:
            return self._fail(part)
        if part.kind != "prefill":
            return self._emit(self.mode.advance(outcome))
        self.state.cache_length += count
        if prompt_goes_on:
            return Emission(self, [], "", None)
        self.state.seed = outcome.verified_tokens[0]
        return self._emit(self.mode.start())

    def cancel(self) -> Emission:
        self.finish_reason = "cancelled"
        return Emission(self, [], self._text.finish() if self._text else "", self.finish_reason)

    def _fail(self, part: Pass) -> Emission:
        """End here: the pass gave nothing that a token could be chosen from. What was emitted before stays."""
        first = self.state.cache_length
        position = first if part.all_logits else first + len(part.tokens) - 1
        self.finish_reason = "error"
        self.error = OperationError(
            f"logits are not finite in a {part.kind} pass at position {position}: the engine's numbers overflow, "
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
            elif len(self.emitted) == self.max_new_tokens:
                self.finish_reason = "length"
            if self.finish_reason is not None:
                self._crop_cache()
                break
        if self.finish_reason is not None and self._text is not None:
            text += self._text.finish()
        return Emission(self, added, text, self.finish_reason)

    def _crop_cache(self) -> None:
        """Forget cached tokens behind a cut, so that the cache and the output agree again."""
        kept = len(self.request.prompt_ids) + len(self.emitted)
        self.state.cache_length = min(self.state.cache_length, kept - 1 if self.state.seed_emitted else kept)

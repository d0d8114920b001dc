# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A request: what to generate, how, and when to stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from nld_trt import names
from nld_trt.decode.sampling import (
    DEFAULT_ACCEPTANCE,
    SETTINGS,
    check_acceptance,
    check_ensemble,
    check_sampling,
    default_sampling,
    fresh_seed,
)
from nld_trt.engine.session import EngineInfo
from nld_trt.errors import InputError
from nld_trt.graph.contract import Limits
from nld_trt.model.config import MAX_EOS_IDS, as_ids
from nld_trt.names import (
    DEFAULT_MAX_NEW_TOKENS,
    DEFAULT_MODE,
    MODES,
    NEVER,
    SPECULATIVE,
    AcceptanceName,
    ModeName,
)


@dataclass(frozen=True)
class Request:
    """One generation. Lengths are in tokens.

    Attributes:
        max_new_tokens: None means the checkpoint's default or DEFAULT_MAX_NEW_TOKENS, as many as fit behind the prompt.
        lora: use the draft adapter; None means whenever the engine has one. Only drafts use it.
        block_length: of a diffusion block, a linear round or the drafts of a quadratic pass; None means the
            checkpoint's.
        threshold: diffusion: commit confidence, None for the fixed one-per-pass schedule; linear:
            0 fills the draft in one pass, above 0 drafts in several.
        eos_token_id: a token that ends the answer, or up to MAX_EOS_IDS of them; None means the checkpoint's, -1 is no
            token and alone never stops.
        stop: strings that end the text; they are not part of it.
        temperature: 0 is greedy; above, tokens are drawn from softmax(logits / temperature).
        top_k, top_p, min_p: which tokens can be drawn (``graph.candidates``); not in diffusion. These and
            ``temperature``: None means the checkpoint's default, or what is greedy and keeps every token.
        seed: of the draws; None means a fresh one. Greedy requests need none.
        acceptance: rule by which linear keeps drafted tokens; None means DEFAULT_ACCEPTANCE where it can be had.
        ensemble: quadratic: weight of the AR prediction in verifying, the rest is the diffusion's. Below 1 the
            text is no longer that of ar.
        max_thinking_tokens, end_think_token_id: after so many tokens without the marker, it is forced.
    """

    prompt_ids: tuple[int, ...]
    mode: ModeName = DEFAULT_MODE
    lora: bool | None = None
    max_new_tokens: int | None = None
    block_length: int | None = None
    threshold: float | None = None
    eos_token_id: int | Sequence[int] | None = None
    stop: tuple[str, ...] = ()
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int | None = None
    acceptance: AcceptanceName | None = None
    max_thinking_tokens: int | None = None
    end_think_token_id: int | None = None
    ensemble: float = names.DEFAULT_ENSEMBLE

    @property
    def sampling(self) -> dict[str, Any]:
        """Temperature, filters and seed by name."""
        return {name: getattr(self, name) for name in SETTINGS}

    @property
    def samples(self) -> bool:
        """Whether tokens are drawn. Of a request that was resolved, as are the properties that follow."""
        return bool(self.temperature)

    @property
    def rejection(self) -> bool:
        """Whether drafts are verified by rejection sampling."""
        return self.acceptance == names.REJECT and self.mode == names.LINEAR and self.samples and not self.threshold

    @cached_property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Every token that ends the answer."""
        return tuple(token for token in dict.fromkeys(as_ids(self.eos_token_id)) if token != NEVER)

    def resolved(self, info: EngineInfo) -> Request:
        """This request with the engine's defaults filled in, checked against the engine's limits.

        Raises:
            InputError: naming the field, its value and what the engine can do.
        """
        room = max(1, info.limits.max_seq_len - len(self.prompt_ids))
        length = info.generation.max_new_tokens or DEFAULT_MAX_NEW_TOKENS
        drawn = default_sampling(info.generation, self.mode) | {
            name: value for name, value in self.sampling.items() if value is not None
        }
        filled = replace(
            self,
            max_new_tokens=min(length, room) if self.max_new_tokens is None else self.max_new_tokens,
            block_length=self._default_block_length(info) if self.block_length is None else self.block_length,
            eos_token_id=self._resolved_eos(info),
            lora=info.has_adapter if self.lora is None else self.lora,
            acceptance=self._default_acceptance() if self.acceptance is None else self.acceptance,
            **{"seed": fresh_seed() if drawn["temperature"] else None, **drawn},
        )
        _check_values(filled, info)
        _check_lengths(filled, info)
        return filled

    def _resolved_eos(self, info: EngineInfo) -> int | tuple[int, ...]:
        """One id where there is one: most requests have no more."""
        stated = info.config.eos_token_ids if self.eos_token_id is None else tuple(as_ids(self.eos_token_id))
        return stated[0] if len(stated) == 1 else stated

    def _default_acceptance(self) -> AcceptanceName:
        return DEFAULT_ACCEPTANCE if self.mode == names.LINEAR and not self.threshold else names.MATCH

    def _default_block_length(self, info: EngineInfo) -> int:
        return fitting_block_length(info.default_block_length, self.mode, info)


def modes_of(info: EngineInfo) -> tuple[ModeName, ...]:
    """The modes that an engine has."""
    return tuple(mode for mode in MODES if mode != names.QUADRATIC or info.limits.max_quadratic_length)


def fitting_block_length(length: int, mode: ModeName, info: EngineInfo) -> int:
    """A default block length as a mode can have it: drafts of quadratic passes may be fewer."""
    return max(1, min(length, info.limits.max_quadratic_length)) if mode == names.QUADRATIC else length


def _check_values(request: Request, info: EngineInfo) -> None:
    vocab = info.config.vocab_size
    if request.mode not in MODES:
        raise InputError(f"mode is {request.mode!r}; supported: {', '.join(MODES)}")
    if not request.prompt_ids:
        raise InputError("the prompt is empty: at least one token is needed")
    foreign = [token for token in request.prompt_ids if not 0 <= token < vocab]
    if foreign:
        raise InputError(f"prompt_ids has {foreign[0]}, which is no token id: the vocabulary has {vocab} tokens")
    _check_eos(request, info)
    if request.lora and request.mode in SPECULATIVE and not info.has_adapter:
        raise InputError(
            "lora was asked for and the engine has no draft adapter",
            fix="Build from a checkpoint with linear_spec_lora/ (without --no-lora), or pass --no-lora here.",
        )
    if request.threshold is not None and not 0.0 <= request.threshold <= 1.0:
        raise InputError(f"threshold is {request.threshold}; it must be between 0 and 1, or null")
    check_sampling(request.sampling, request.mode)
    if request.acceptance is not None:
        check_acceptance(request.acceptance, request.mode, request.threshold)
    check_ensemble(request.ensemble)
    if request.ensemble != 1.0 and request.mode != names.QUADRATIC:
        raise InputError(
            f"ensemble is {request.ensemble}; only quadratic mode verifies with an ensemble",
            fix="Leave ensemble out, or use mode quadratic.",
        )
    if request.ensemble != 1.0 and not info.has_ensemble:
        raise InputError(
            f"ensemble is {request.ensemble}, and this engine cannot verify with an ensemble",
            fix="Rebuild with nld-trt build --quadratic-length 8 (and --no-plugins for trt), or leave ensemble out.",
        )
    if any(not text for text in request.stop):
        raise InputError("a stop string is empty")
    _check_thinking(request, info)


def _check_eos(request: Request, info: EngineInfo) -> None:
    stated, vocab, mask = as_ids(request.eos_token_id), info.config.vocab_size, info.config.mask_token_id
    if not stated:
        raise InputError("eos_token_id is an empty list; -1 is for never")
    for token in stated:
        if not NEVER <= token < vocab:
            raise InputError(f"eos_token_id is {token}; it must be a token id below {vocab}, or -1 for never")
        if token == mask:
            raise InputError(f"eos_token_id is {token}, the mask token, which is never generated")
    count = len(request.eos_token_ids)
    if count > MAX_EOS_IDS:
        raise InputError(f"eos_token_id has {count} token ids; an engine can look for up to {MAX_EOS_IDS}")


def _check_thinking(request: Request, info: EngineInfo) -> None:
    vocab = info.config.vocab_size
    budget, marker = request.max_thinking_tokens, request.end_think_token_id
    if (budget is None) != (marker is None):
        raise InputError("max_thinking_tokens and end_think_token_id must be given together")
    if budget is None or marker is None:
        return
    if request.mode in SPECULATIVE:
        raise InputError(
            f"max_thinking_tokens is not supported in {request.mode} mode: forcing a token would break its equality "
            "with ar",
            fix="Use mode ar or diffusion for a thinking budget.",
        )
    if budget < 0:
        raise InputError(f"max_thinking_tokens is {budget}; it must be 0 or more")
    if not 0 <= marker < vocab:
        raise InputError(f"end_think_token_id is {marker}; it must be a token id below {vocab}")
    if marker == info.config.mask_token_id:
        raise InputError(f"end_think_token_id is {marker}, the mask token, which is never generated")


def _check_lengths(request: Request, info: EngineInfo) -> None:
    limits = info.limits
    assert request.max_new_tokens is not None
    if request.max_new_tokens < 1:
        raise InputError(f"max_new_tokens is {request.max_new_tokens}; it must be at least 1")
    assert request.block_length is not None
    if request.block_length < 1:
        raise InputError(f"block_length is {request.block_length}; it must be at least 1")
    if request.block_length > limits.max_block_length:
        raise InputError(
            f"block_length is {request.block_length}; the engine was built for blocks up to {limits.max_block_length}",
            fix=f"Use a block_length of {limits.max_block_length} or less, "
            f"or rebuild with nld-trt build --block-length {request.block_length}.",
        )
    if request.mode == names.QUADRATIC:
        _check_quadratic(request.block_length, limits)
    needed = len(request.prompt_ids) + request.max_new_tokens
    if needed > limits.max_seq_len:
        raise InputError(
            f"prompt ({len(request.prompt_ids)} tokens) + max_new_tokens ({request.max_new_tokens}) = {needed}; "
            f"the engine was built for {limits.max_seq_len}",
            fix=f"Shorten the request, or rebuild with nld-trt build --max-seq-len {needed}.",
        )


def _check_quadratic(drafts: int, limits: Limits) -> None:
    if not limits.max_quadratic_length:
        raise InputError(
            "mode is 'quadratic', and the engine was built without quadratic passes",
            fix="Rebuild with nld-trt build --quadratic-length 8, or use mode linear.",
        )
    if drafts > limits.max_quadratic_length:
        raise InputError(
            f"block_length is {drafts}; the engine was built for quadratic passes of up to "
            f"{limits.max_quadratic_length} drafts",
            fix=f"Use a block_length of {limits.max_quadratic_length} or less, "
            f"or rebuild with nld-trt build --quadratic-length {drafts}.",
        )

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A request: what to generate, how, and when to stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from nld_trt import names
from nld_trt.decode.fields import FIELDS, SAMPLING
from nld_trt.decode.sampling import (
    DEFAULT_ACCEPTANCE,
    NO_FILTER,
    check_acceptance,
    check_sampling,
    default_sampling,
    fresh_seed,
)
from nld_trt.engine.session import EngineInfo
from nld_trt.errors import InputError
from nld_trt.graph.contract import Limits, prompt_block, quadratic_width
from nld_trt.model.config import MAX_EOS_IDS, as_ids
from nld_trt.names import (
    DEFAULT_MAX_NEW_TOKENS,
    DEFAULT_THRESHOLDS,
    MODES,
    NEVER,
    SERVED_MODES,
    SPECULATIVE,
    AcceptanceName,
    ModeName,
)


@dataclass(frozen=True)
class Request:
    """One generation. Lengths are in tokens.

    Attributes:
        mode: None means the default of the checkpoint's family (``model.family``): linear, or the only one that it has.
        max_new_tokens: None means the checkpoint's default or DEFAULT_MAX_NEW_TOKENS, as many as fit after the prompt.
        lora: use the draft adapter; None means whenever the engine has one. Only drafts use it.
        block_length: of a diffusion block, a linear round or the drafts of a quadratic pass; None means the
            checkpoint's.
        threshold: diffusion: commit confidence, None for the fixed one-per-pass schedule; linear:
            0 fills the draft in one pass, above 0 drafts in several.
        steps: families without a causal pass: passes of a block, each of which commits at least its part of it; None
            means at least one token a pass. The threshold commits more.
        block_cache: families that see the whole canvas: only the first pass of a block is over all of it.
        eos_token_id: a token that ends the answer, or up to MAX_EOS_IDS of them; None means the checkpoint's, -1 is no
            token and alone never stops.
        stop: strings that end the text; they are not part of it.
        temperature: 0 is greedy; above, tokens are sampled from softmax(logits / temperature).
        top_k, top_p, min_p: which tokens can be sampled (docs/sampling.md); not in diffusion. These and
            ``temperature``: None means the checkpoint's default, or what is greedy and keeps every token.
        seed: of the samples; None means a fresh one. Greedy requests need none.
        acceptance: rule by which linear keeps drafted tokens; None means DEFAULT_ACCEPTANCE where it can be had.
        ensemble: quadratic: weight of the AR prediction in verifying, the rest is the diffusion's. Below 1 the
            text is no longer that of ar.
        allow_diffusion: auto: the text may be other than that of ar, so that diffusion may be chosen.
        max_thinking_tokens, end_think_token_id: the marker is forced once so many tokens were generated without it.
        keep_markers: the text has the markers of thinking and tool calls (``Codec.stream``).
    """

    prompt_ids: tuple[int, ...]
    mode: ModeName | None = None
    lora: bool | None = None
    max_new_tokens: int | None = None
    block_length: int | None = None
    threshold: float | None = None
    steps: int | None = None
    block_cache: bool = False
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
    allow_diffusion: bool = False
    keep_markers: bool = False

    @property
    def sampling(self) -> dict[str, Any]:
        """Temperature, filters and seed by name."""
        return {name: getattr(self, name) for name in SAMPLING}

    def resolved(self, info: EngineInfo) -> ResolvedRequest:
        """This request with the engine's defaults filled in, checked against the engine's limits.

        Raises:
            InputError: naming the field, its value and what the engine can do.
        """
        mode = self._mode(info)
        _check_values(self, mode, info)
        tokens_left = max(1, info.limits.max_seq_len - len(self.prompt_ids))
        most = info.generation.max_new_tokens or DEFAULT_MAX_NEW_TOKENS
        sampling: dict[str, Any] = default_sampling(info.generation, mode) | {
            name: value for name, value in self.sampling.items() if value is not None
        }
        eos = info.config.eos_token_ids if self.eos_token_id is None else as_ids(self.eos_token_id)
        resolved = ResolvedRequest(
            prompt_ids=self.prompt_ids,
            mode=mode,
            lora=info.has_adapter if self.lora is None else self.lora,
            max_new_tokens=min(most, tokens_left) if self.max_new_tokens is None else self.max_new_tokens,
            block_length=(
                fitting_block_length(info.default_block_length, mode, info)
                if self.block_length is None
                else self.block_length
            ),
            threshold=self._threshold(mode),
            steps=self.steps,
            block_cache=self.block_cache,
            eos_token_ids=tuple(token for token in dict.fromkeys(eos) if token != NEVER),
            stop=self.stop,
            acceptance=self._default_acceptance(mode) if self.acceptance is None else self.acceptance,
            max_thinking_tokens=self.max_thinking_tokens,
            end_think_token_id=self.end_think_token_id,
            ensemble=self.ensemble,
            allow_diffusion=self.allow_diffusion,
            keep_markers=self.keep_markers,
            aligned=prompt_block(info.config, info.limits) > 0,
            **{"seed": fresh_seed() if sampling["temperature"] else None, **sampling},
        )
        check_sampling(resolved.sampling, resolved.mode)
        _check_lengths(resolved, info)
        return resolved

    def _mode(self, info: EngineInfo) -> ModeName:
        """The mode to decode in.

        Raises:
            InputError: there is no such mode, or the checkpoint's family was not trained for it.
        """
        family = info.config.family
        if self.mode is None:
            return family.default_mode
        if self.mode not in SERVED_MODES:
            raise InputError(f"mode is {self.mode!r}; supported: {', '.join(SERVED_MODES)}")
        # A thinking budget forces a token, which speculation cannot.
        if self.mode == names.AUTO and self.max_thinking_tokens is not None:
            return family.offered(names.AR if names.AR in family.modes else names.AUTO)
        return family.offered(self.mode)

    def _threshold(self, mode: ModeName) -> float | None:
        """The threshold of a block. A request that leaves the mode open does not mean one token per pass by None."""
        is_open = self.mode in (None, names.AUTO) and self.threshold is None
        return DEFAULT_THRESHOLDS[mode] if is_open and mode == names.DIFFUSION else self.threshold

    def _default_acceptance(self, mode: ModeName) -> AcceptanceName:
        return DEFAULT_ACCEPTANCE if mode == names.LINEAR and not self.threshold else names.MATCH


@dataclass(frozen=True)
class ResolvedRequest:
    """A request for one engine: every value is filled in, and all of them were checked.

    Attributes:
        eos_token_ids: every token that ends the answer; none where it never ends.
        seed: of the samples; None where no token is sampled and none was stated.
        aligned: blocks stand at multiples of the block length from the prompt's first token on, and the first one
            begins with what is left of the prompt (``model.family``, ``blocks``).
    """

    prompt_ids: tuple[int, ...]
    mode: ModeName
    lora: bool
    max_new_tokens: int
    block_length: int
    threshold: float | None
    eos_token_ids: tuple[int, ...]
    stop: tuple[str, ...]
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    seed: int | None
    acceptance: AcceptanceName
    max_thinking_tokens: int | None
    end_think_token_id: int | None
    ensemble: float
    allow_diffusion: bool = False
    keep_markers: bool = False
    aligned: bool = False
    steps: int | None = None
    block_cache: bool = False

    def as_mode(self, mode: ModeName, block_length: int) -> ResolvedRequest:
        """This request of mode auto, as it is decoded for a while."""
        thresholds = {names.LINEAR: 0.0, names.DIFFUSION: self.threshold}
        return replace(self, mode=mode, block_length=block_length, threshold=thresholds.get(mode))

    @property
    def may_diffuse(self) -> bool:
        """Whether a request of mode auto may be decoded by diffusion, which has no filters of its own."""
        return self.allow_diffusion and all(getattr(self, name) == value for name, value in NO_FILTER.items())

    @property
    def sampling(self) -> dict[str, Any]:
        """Temperature, filters and seed by name."""
        return {name: getattr(self, name) for name in SAMPLING}

    @property
    def auto(self) -> bool:
        """Whether mode and block length are chosen while it is decoded."""
        return self.mode == names.AUTO

    @property
    def samples(self) -> bool:
        """Whether tokens are sampled."""
        return self.temperature > 0

    @property
    def rejection(self) -> bool:
        """Whether drafts are verified by rejection sampling."""
        return self.acceptance == names.REJECT and self.mode == names.LINEAR and self.samples and not self.threshold

    @property
    def slots_kept(self) -> int:
        """Cache slots that the request fills at most."""
        return len(self.prompt_ids) + self.max_new_tokens

    @property
    def overhang(self) -> int:
        """Slots after those that a pass may write: the last block is written whole and cut afterwards."""
        return quadratic_width(self.block_length) if self.mode == names.QUADRATIC else self.block_length


def modes_of(info: EngineInfo) -> tuple[ModeName, ...]:
    """The modes in which an engine can decode."""
    offered = info.config.family.modes
    return tuple(
        mode for mode in MODES if mode in offered and (mode != names.QUADRATIC or info.limits.max_quadratic_length)
    )


def fitting_block_length(length: int, mode: ModeName, info: EngineInfo) -> int:
    """The block length that ``mode`` takes for a default of ``length``: a quadratic pass may have fewer drafts."""
    return max(1, min(length, info.limits.max_quadratic_length)) if mode == names.QUADRATIC else length


# Fields whose range is checked as they were asked for; others may be checked once they are filled in.
_RANGES = ("threshold", "ensemble")


def _check_values(request: Request, mode: ModeName, info: EngineInfo) -> None:
    vocab = info.config.vocab_size
    if not request.prompt_ids:
        raise InputError("the prompt is empty: at least one token is needed")
    foreign = [token for token in request.prompt_ids if not 0 <= token < vocab]
    if foreign:
        raise InputError(f"prompt_ids has {foreign[0]}, which is no token id: the vocabulary has {vocab} tokens")
    _check_eos(request, info)
    if request.lora and mode in SPECULATIVE and not info.has_adapter:
        raise InputError(
            "lora was asked for and the engine has no draft adapter",
            fix="Build from a checkpoint with linear_spec_lora/ (without --no-lora), or pass --no-lora here.",
        )
    for name in _RANGES:
        FIELDS[name].check(getattr(request, name))
    check_sampling(request.sampling, mode)
    if request.acceptance is not None:
        check_acceptance(request.acceptance, mode, request.threshold)
    if request.allow_diffusion and names.AUTO not in (mode, request.mode):
        raise InputError(
            f"allow_diffusion is true, and mode is {mode!r}; it is for mode auto",
            fix="Leave it out, or use mode auto or diffusion.",
        )
    if request.ensemble != 1.0 and mode != names.QUADRATIC:
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
    _check_canvas(request, info)
    _check_thinking(request, mode, info)


def _check_canvas(request: Request, info: EngineInfo) -> None:
    """Refuse what only families that decode by diffusion alone have."""
    FIELDS["steps"].check(request.steps)
    family = info.config.family
    if family.reads_canvas:
        return
    if request.steps is not None and not family.aligns_blocks:
        raise InputError(
            f"steps is {request.steps}; only families without a causal pass fill a block in a stated number of "
            f"passes, and this engine is of {family.title}",
            fix="Leave steps out. A threshold of null commits one token per pass.",
        )
    if request.block_cache:
        raise InputError(
            f"block_cache is true; {family.title} has cached what is before a block anyway",
            fix="Leave block_cache out.",
        )


def _check_eos(request: Request, info: EngineInfo) -> None:
    if request.eos_token_id is None:
        return
    stated, vocab, mask = as_ids(request.eos_token_id), info.config.vocab_size, info.config.mask_token_id
    if not stated:
        raise InputError("eos_token_id is an empty list; -1 is for never")
    for token in stated:
        if not NEVER <= token < vocab:
            raise InputError(f"eos_token_id is {token}; it must be a token id below {vocab}, or -1 for never")
        if token == mask:
            raise InputError(f"eos_token_id is {token}, the mask token, which is never generated")
    count = len({*stated} - {NEVER})
    if count > MAX_EOS_IDS:
        raise InputError(f"eos_token_id has {count} token ids; an engine can look for up to {MAX_EOS_IDS}")


def _check_thinking(request: Request, mode: ModeName, info: EngineInfo) -> None:
    vocab = info.config.vocab_size
    budget, marker = request.max_thinking_tokens, request.end_think_token_id
    if (budget is None) != (marker is None):
        raise InputError("max_thinking_tokens and end_think_token_id must be given together")
    if budget is None or marker is None:
        return
    if info.config.family.reads_canvas:
        raise InputError(
            f"max_thinking_tokens is not supported with {info.config.family.title}, which fills a canvas of which "
            "no token can be forced",
            fix="Leave it out.",
        )
    if mode in SPECULATIVE:
        raise InputError(
            f"max_thinking_tokens is not supported in {mode} mode: forcing a token would break its equality with ar",
            fix="Use mode ar or diffusion for a thinking budget.",
        )
    FIELDS["max_thinking_tokens"].check(budget)
    if not 0 <= marker < vocab:
        raise InputError(f"end_think_token_id is {marker}; it must be a token id below {vocab}")
    if marker == info.config.mask_token_id:
        raise InputError(f"end_think_token_id is {marker}, the mask token, which is never generated")


def _check_lengths(request: ResolvedRequest, info: EngineInfo) -> None:
    limits = info.limits
    for name in ("max_new_tokens", "block_length"):
        FIELDS[name].check(getattr(request, name))
    if request.block_length > limits.max_block_length:
        raise InputError(
            f"block_length is {request.block_length}; the engine was built for blocks up to {limits.max_block_length}",
            fix=f"Use a block_length of {limits.max_block_length} or less, "
            f"or rebuild with nld-trt build --block-length {request.block_length}.",
        )
    if request.aligned and request.block_length != limits.max_block_length:
        raise InputError(
            f"block_length is {request.block_length}; {info.config.family.title} sees its prompt in blocks as well, "
            f"and this engine was built for blocks of {limits.max_block_length}",
            fix="Leave block_length out, or rebuild with nld-trt build "
            f"--block-length {request.block_length} if the checkpoint was trained with such blocks.",
        )
    if request.mode == names.QUADRATIC:
        _check_quadratic(request.block_length, limits)
    needed = len(request.prompt_ids) + request.max_new_tokens
    if needed > limits.max_seq_len:
        what = "the canvas is longer than the engine's: " if limits.max_canvas_length else ""
        raise InputError(
            f"{what}prompt ({len(request.prompt_ids)} tokens) + max_new_tokens ({request.max_new_tokens}) = {needed}; "
            f"the engine was built for {limits.max_seq_len}",
            fix=f"Shorten the request, or rebuild with nld-trt build --max-seq-len {needed}.",
        )


def _check_quadratic(drafts: int, limits: Limits) -> None:
    if not limits.max_quadratic_length:
        raise InputError(
            f"mode is {names.QUADRATIC!r}, and the engine was built without quadratic passes",
            fix="Rebuild with nld-trt build --quadratic-length 8, or use mode linear.",
        )
    if drafts > limits.max_quadratic_length:
        raise InputError(
            f"block_length is {drafts}; the engine was built for quadratic passes of up to "
            f"{limits.max_quadratic_length} drafts",
            fix=f"Use a block_length of {limits.max_quadratic_length} or less, "
            f"or rebuild with nld-trt build --quadratic-length {drafts}.",
        )

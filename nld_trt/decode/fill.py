# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A forward's buffers: filled from the passes of its rows, and read for what they gave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from nld_trt import names
from nld_trt.engine.session import Array, Session, StepBuffers
from nld_trt.graph.contract import DRAFTED, NOT_DRAFTED
from nld_trt.graph.step.tensors import PROGRAMS
from nld_trt.model.config import MAX_EOS_IDS
from nld_trt.names import NEVER, Program

# No probability reaches it: with this threshold BlockDenoise commits by quota alone.
UNREACHABLE: Final = 2.0


@dataclass(frozen=True)
class PassSettings:
    """Inputs that a row keeps from one pass to the next, under the names of the step contract where it has them.

    The defaults choose the most likely tokens, commit none in a block, and leave the next pass to the host.

    Attributes:
        program: how the engine makes the row's next pass, one of ``graph.step.tensors.PROGRAMS``.
        adapter: drafts of the row use the adapter; passes that draft nothing do not look at it.
        segments: drafts of a quadratic pass; 0 where the pass is not one.
        drafted: an Eagle3 head drafts after the row's passes.
        eos_token_ids: tokens at which the engine makes no further pass; MAX_EOS_IDS at most.
    """

    program: Program = names.HOLD
    adapter: bool = False
    threshold: float = UNREACHABLE
    quota: int = 0
    segments: int = 0
    drafted: bool = False
    eos_token_ids: tuple[int, ...] = ()
    ensemble: float = 1.0
    rejection: bool = False
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0

    @property
    def samples(self) -> bool:
        """Whether the row's tokens are not simply the most likely ones."""
        return self.temperature > 0 or self.ensemble < 1


@dataclass(frozen=True)
class Candidates:
    """Ids [W, K] int32 and probabilities [W, K] float32 of the tokens that a draft was sampled from."""

    ids: Array
    probabilities: Array


@dataclass(frozen=True)
class Pass:
    """One row's part of a forward, in plain values.

    Attributes:
        tokens: new tokens, starting at slot ``cache_length`` of the row's cache.
        wanted: indexes of the new tokens whose logits are wanted, ascending; None means all of them.
        sample: which random numbers of the predicted positions are used; two passes may predict one position.
        tokens_left: tokens that the row may still commit, this pass included.
        candidates: what the new tokens were sampled from, where rejection sampling verifies them.
        next_token: the token after the new ones, in the middle of a prompt; None where the pass decides it.
    """

    tokens: Sequence[int]
    cache_length: int = 0
    causal: bool = True
    wanted: Sequence[int] | None = None
    sample: int = 0
    tokens_left: int = 0
    candidates: Candidates | None = None
    next_token: int | None = None
    settings: PassSettings = PassSettings()

    @property
    def width(self) -> int:
        """Number of new tokens."""
        return len(self.tokens)

    @property
    def window(self) -> int:
        """Number of tokens whose logits are wanted."""
        return len(self.tokens if self.wanted is None else self.wanted)


@dataclass(frozen=True)
class Outcome:
    """What a pass gave its row. The lists cover the tokens whose logits were wanted.

    Attributes:
        finite: whether those logits were numbers from which a token could be chosen.
        drafts: tokens that an Eagle3 head has drafted after the bonus token.
        following: the row's next pass, which the engine has prepared; None where its program is to hold.
    """

    block_tokens: list[int]
    verified_tokens: list[int]
    accepted_count: int
    finite: bool
    following: Pass | None
    drafts: Sequence[int] = ()


_NO_EOS: Final = (NEVER,) * MAX_EOS_IDS


def idle_pass(length: int) -> Pass:
    """The pass of a row that only fills up a forward. It has one token, and nobody reads its result.

    Args:
        length: slots that the row holds. The pass writes behind them, where the row's own next pass writes as well.
    """
    return Pass(tokens=(0,), cache_length=length, wanted=())


def fill(session: Session, passes: Sequence[Pass], *, first: int = 0, width: int = 1) -> StepBuffers:
    """The session's buffers of one forward, holding a pass for each cache row from ``first`` on.

    Buffers are used again, so that every input is written, padding included.

    Args:
        width: tokens per row of the forward, if the passes have fewer.
    """
    width, window = max(width, *(len(part.tokens) for part in passes)), max(1, *(part.window for part in passes))
    buffers = session.step(len(passes), width, window, any(part.settings.samples for part in passes), first)
    inputs = buffers.inputs
    for name, values in _columns(passes).items():
        inputs[name][...] = values
    if "next_token" in inputs:
        inputs["next_token"][...] = [_next_token(part) for part in passes]
    padding = {"tokens": 0, "logit_rows": -1, "drafted_ids": -1}
    for name, value in padding.items():
        inputs[name][...] = value
    for index, part in enumerate(passes):
        count = len(part.tokens)
        inputs["tokens"][index, :count] = part.tokens
        inputs["logit_rows"][index, : part.window] = range(count) if part.wanted is None else part.wanted
        if part.candidates is not None:
            inputs["drafted_ids"][index, :count] = part.candidates.ids
            inputs["drafted_probabilities"][index, :count] = part.candidates.probabilities
    return buffers


def _columns(passes: Sequence[Pass]) -> Mapping[str, Any]:
    """Engine inputs that have one value, or one list of a fixed length, for each row."""
    settings = [part.settings for part in passes]
    return {
        "cache_length": [part.cache_length for part in passes],
        "valid_count": [len(part.tokens) for part in passes],
        "causal": [part.causal for part in passes],
        "sample": [part.sample for part in passes],
        "tokens_left": [part.tokens_left for part in passes],
        "draft_adapter": [each.adapter for each in settings],
        "segments": [each.segments for each in settings],
        "threshold": [each.threshold for each in settings],
        "quota": [each.quota for each in settings],
        "eos_token_id": [
            [*each.eos_token_ids, *[NEVER] * (MAX_EOS_IDS - len(each.eos_token_ids))] for each in settings
        ],
        "ensemble": [each.ensemble for each in settings],
        "rejection": [each.rejection for each in settings],
        "program": [PROGRAMS.index(each.program) for each in settings],
        "temperature": [each.temperature for each in settings],
        "top_k": [each.top_k for each in settings],
        "top_p": [each.top_p for each in settings],
        "min_p": [each.min_p for each in settings],
        "seed": np.array([each.seed for each in settings], np.int64),
    }


def _next_token(part: Pass) -> int:
    if part.next_token is not None:
        return part.next_token
    return DRAFTED if part.settings.drafted else NOT_DRAFTED


def outcomes(buffers: StepBuffers, passes: Sequence[Pass]) -> Iterator[Outcome]:
    """What a finished forward gave each of its passes, in lists of its own: the buffers may be filled again."""
    lists = {name: buffers.outputs[name].tolist() for name in _READ}
    drafts = buffers.outputs["draft_tokens"].tolist() if "draft_tokens" in buffers.outputs else None
    for index, part in enumerate(passes):
        count = part.window
        yield Outcome(
            block_tokens=lists["block_tokens"][index][:count],
            verified_tokens=lists["verified_tokens"][index][:count],
            accepted_count=lists["accepted_count"][index],
            finite=bool(lists["finite"][index]),
            following=None if part.settings.program == names.HOLD else _following(buffers, lists, index, part),
            drafts=() if drafts is None else drafts[index],
        )


_READ: Final = (
    "block_tokens",
    "verified_tokens",
    "accepted_count",
    "finite",
    "next_tokens",
    "next_cache_length",
    "next_causal",
    "next_sample",
    "next_tokens_left",
)


def _following(buffers: StepBuffers, lists: Mapping[str, list[Any]], index: int, part: Pass) -> Pass:
    """The pass after ``part``: the row's slice of what the engine carries over (``contract.CARRIED``)."""
    count = len(part.tokens)
    causal = lists["next_causal"][index]
    candidates = None
    if causal and part.settings.rejection:
        ids, probabilities = buffers.outputs["candidate_ids"], buffers.outputs["candidate_probabilities"]
        candidates = Candidates(ids[index, :count].copy(), probabilities[index, :count].copy())
    return replace(
        part,
        tokens=lists["next_tokens"][index][:count],
        cache_length=lists["next_cache_length"][index],
        causal=causal,
        sample=lists["next_sample"][index],
        tokens_left=lists["next_tokens_left"][index],
        candidates=candidates,
    )

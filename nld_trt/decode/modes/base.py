# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a decoding mode is: the passes it wants over one request, and what it makes of their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from nld_trt.decode.counters import Counters, PassKind
from nld_trt.decode.request import Request
from nld_trt.engine.session import Array

# No probability reaches it: with this threshold BlockDenoise commits by quota alone.
UNREACHABLE = 2.0


@dataclass(frozen=True)
class Pass:
    """One row's part of a forward.

    Attributes:
        tokens: new tokens, starting at the row's cache length.
        all_logits: logits behind every new token, or behind the last one only.
        adapter: drafts of this row use the adapter; it may be said in any pass and matters in those that draft.
        draw: which random numbers of the predicted positions; two passes may predict one position.
        segments: drafts of a quadratic pass.
        candidates: what the new tokens were drawn from, where they are to be verified by rejection sampling.
        program: how the row goes on without being told, one of ``graph.step.tensors.PROGRAMS``.
    """

    kind: PassKind
    tokens: Sequence[int]
    causal: bool
    all_logits: bool
    adapter: bool = False
    threshold: float = UNREACHABLE
    quota: int = 0
    draw: int = 0
    segments: int = 0
    candidates: Candidates | None = None
    program: str = "hold"


@dataclass(frozen=True)
class Candidates:
    """Ids [W, K] int32 and shares [W, K] float32 of the tokens that a draft was drawn from."""

    ids: Array
    shares: Array


@dataclass(frozen=True)
class Outcome:
    """One row's decode-operator results; lists cover the tokens whose logits were asked for.

    Attributes:
        finite: whether those logits were numbers from which a token could be chosen.
    """

    block_tokens: list[int]
    masks_left: int
    verified_tokens: list[int]
    accepted_count: int
    finite: bool
    candidates: Candidates | None = None


@dataclass
class RowState:
    """All that a request must carry to continue in any mode at a commit boundary (docs/model.md, Changing the mode).

    Attributes:
        block_length: the request's, resolved.
        cache_length: committed tokens in the K/V cache.
        seed: the next token, decided by causal logits and not yet cached.
        seed_emitted: whether the seed is already part of ``emitted``.
        emitted: generated tokens, prompt excluded.
    """

    request: Request
    mask_token_id: int
    block_length: int
    cache_length: int = 0
    seed: int = -1
    seed_emitted: bool = False
    emitted: list[int] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)


class Mode(Protocol):
    """One strategy over one request. It knows nothing of engines, batches or text."""

    def start(self) -> list[int]:
        """Called once the prompt is cached and the seed is known; returns tokens to emit."""

    def next_pass(self) -> Pass:
        """The next forward this request needs."""

    def advance(self, outcome: Outcome) -> list[int]:
        """Take in the results of that forward; returns tokens to emit, possibly none."""

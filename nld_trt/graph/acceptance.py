# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Rules by which a verify pass accepts drafted tokens.

A rule sees what the verifier would say behind each token of a block, and which draft token stands there. The longest
run of accepted tokens is kept, followed by one token of the verifier.

Shapes: B rows, W window tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from nld_trt.graph.tape import Tape

RuleName = Literal["match"]


@dataclass(frozen=True)
class Evidence:
    """Names of what a rule may look at.

    Attributes:
        allowed: [B, W, V] float32 logits of the causal pass, minus infinity for MASK.
        sampled: [B, W] int32, the verifier's own choice behind each token.
        drafted: [B, W] int32, the draft's token there, -1 behind the last.
    """

    allowed: str
    sampled: str
    drafted: str


@dataclass(frozen=True)
class Verdict:
    """Names of what a rule decides.

    Attributes:
        accepted: [B, W] bool, whether the drafted token may stay if all before it do.
        tokens: [B, W] int32, what is emitted behind each token: equal to the drafted one where that is accepted.
    """

    accepted: str
    tokens: str


class AcceptanceRule(Protocol):
    def record(self, tape: Tape, evidence: Evidence) -> Verdict:
        """Record the rule's nodes."""


class SampleAndMatch:
    """A drafted token stays if it is the one that the verifier chose (model-spec 3.4).

    Emitted tokens are always the verifier's, so they are what autoregressive decoding with the same seed gives. Draft
    and verifier share the noise of a position, so they often choose alike even where a token is far from certain.
    """

    def record(self, tape: Tape, evidence: Evidence) -> Verdict:
        return Verdict(tape.op("Equal", evidence.sampled, evidence.drafted), evidence.sampled)


RULES: Mapping[RuleName, AcceptanceRule] = {"match": SampleAndMatch()}

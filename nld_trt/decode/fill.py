# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Between rows and a forward's buffers: what each row's pass puts in, what it gets out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from nld_trt.decode.modes.base import UNREACHABLE, Candidates, Outcome, Pass
from nld_trt.decode.row import Row
from nld_trt.decode.sampling import GREEDY
from nld_trt.engine.session import Session, StepBuffers
from nld_trt.graph.step.tensors import PROGRAMS
from nld_trt.model.config import MAX_EOS_IDS
from nld_trt.names import NEVER

# Inputs of every row in a greedy pass that commits nothing and does not go on by itself. Buffers are reused, so who
# fills them says all of it.
PLAIN: Final[Mapping[str, float]] = {
    **GREEDY,
    "segments": 0,
    "threshold": UNREACHABLE,
    "quota": 0,
    "eos_token_id": NEVER,
    "ensemble": 1.0,
    "rejection": False,
    "drafted_ids": -1,
    "program": PROGRAMS.index("hold"),
    "room": 0,
}

# A row that no request has: one token, of which nobody reads anything.
_EMPTY: Final[Mapping[str, float]] = {
    **PLAIN,
    "tokens": 0,
    "logit_rows": -1,
    "cache_length": 0,
    "valid_count": 1,
    "causal": True,
    "draft_adapter": False,
}


def fill(session: Session, rows: Sequence[Row], passes: Sequence[Pass]) -> StepBuffers:
    """Buffers of a forward, holding one pass per row and, where the session takes more rows than that, empty ones."""
    width = max(len(part.tokens) for part in passes)
    window = max(len(part.tokens) if part.all_logits else 1 for part in passes)
    draws = any(row.draws for row in rows)
    buffers = session.step(session.row_count(len(passes)), width, window, draws)
    inputs = buffers.inputs
    tokens, logit_rows = inputs["tokens"], inputs["logit_rows"]
    for index, (row, part) in enumerate(zip(rows, passes, strict=True)):
        count = len(part.tokens)
        tokens[index, :count] = part.tokens
        tokens[index, count:] = 0
        for name, value in _row_inputs(row, part).items():
            inputs[name][index] = value
        if part.all_logits:
            logit_rows[index, :count] = range(count)
            logit_rows[index, count:] = -1
        else:
            logit_rows[index, 0] = count - 1
            logit_rows[index, 1:] = -1
        inputs["drafted_ids"][index] = -1
        if part.candidates is not None:
            inputs["drafted_ids"][index, :count] = part.candidates.ids
            inputs["drafted_shares"][index, :count] = part.candidates.shares
    if buffers.rows > len(passes):
        for name, value in _EMPTY.items():
            inputs[name][len(passes) :] = value
    return buffers


def _row_inputs(row: Row, part: Pass) -> dict[str, float | Sequence[int]]:
    """Engine inputs of a row that are no lists of its tokens."""
    request = row.request
    ends = request.eos_token_ids
    return {
        "cache_length": row.state.cache_length,
        "valid_count": len(part.tokens),
        "causal": part.causal,
        "draft_adapter": part.adapter,
        "segments": part.segments,
        "threshold": part.threshold,
        "quota": part.quota,
        "eos_token_id": [*ends, *[NEVER] * (MAX_EOS_IDS - len(ends))],
        "ensemble": request.ensemble,
        "draw": part.draw,
        "rejection": request.rejection,
        "program": PROGRAMS.index(part.program),
        "room": row.room,
        **row.sampling,
    }


def outcomes(rows: Sequence[Row], passes: Sequence[Pass], buffers: StepBuffers) -> Iterator[Outcome]:
    """Each row's results, in lists of its own."""
    outputs = buffers.outputs
    block_tokens, verified = outputs["block_tokens"].tolist(), outputs["verified_tokens"].tolist()
    masks_left, accepted = outputs["masks_left"].tolist(), outputs["accepted_count"].tolist()
    finite = outputs["finite"].tolist()
    for index, (row, part) in enumerate(zip(rows, passes, strict=True)):
        count = len(part.tokens) if part.all_logits else 1
        candidates = None
        if row.request.rejection and not part.causal:
            names = "candidate_ids", "candidate_shares"
            candidates = Candidates(*(outputs[name][index, :count].copy() for name in names))
        yield Outcome(
            block_tokens=block_tokens[index][:count],
            masks_left=masks_left[index],
            verified_tokens=verified[index][:count],
            accepted_count=accepted[index],
            finite=bool(finite[index]),
            candidates=candidates,
        )

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The decode operators as ONNX functions in the domain ``nld``.

``ChooseTokens`` reads the logits, once per forward: what every slot chooses, and how likely that was. ``BlockDenoise``
and ``SpecVerify`` decide on the choices: which masks of a block are committed, how much of a draft is accepted. Their
bodies, in standard operators, are their meaning: what ONNX Runtime and TensorRT-RTX run, and the oracle for any other
implementation. Statistics are FP32 over the whole vocabulary. MASK stays in the softmax denominator, as in the
reference, and is never chosen. The lowest id wins a tie.

Shapes: B rows, W window tokens, V vocabulary, K candidates, E places for EOS ids.
"""

from __future__ import annotations

import numpy as np
from onnx import FunctionProto, TensorProto

from nld_trt.graph.network.linear import Dialect
from nld_trt.graph.step.advance import advance
from nld_trt.graph.step.candidates import draft_candidates
from nld_trt.graph.step.ensemble import mixed_scores, mixing_rows
from nld_trt.graph.step.first_token import first_token
from nld_trt.graph.step.sampling import draw_tokens
from nld_trt.graph.step.scores import allowed_scores, float_scores
from nld_trt.graph.step.slots import DrawnSlots, only_if
from nld_trt.graph.tape import Tape, make_function

CHOOSE_INPUTS = (
    "logits",
    "drawn_slots",
    "block",
    "valid",
    "temperature",
    "seed",
    "stream",
    "draw",
    "position",
    "cut",
    "drafted_ids",
    "drafted_shares",
)
# Of engines with quadratic passes.
ENSEMBLE_INPUTS = ("segments", "ensemble")
CHOOSE_OUTPUTS = ("choice", "probability", "finite")
DENOISE_INPUTS = ("choice", "probability", "block", "valid", "threshold", "quota")
DENOISE_OUTPUTS = ("block_tokens", "confidence", "masks_left")
VERIFY_INPUTS = ("choice", "block", "valid", "eos_token_id")
VERIFY_OUTPUTS = ("verified_tokens", "accepted_count", "next_seed", "eos_position")

_LAST = -1
_LARGEST = float(np.finfo(np.float32).max)


def choose_tokens(mask_token_id: int, vocab_size: int, dialect: Dialect, *, quadratic: bool) -> FunctionProto:
    """``ChooseTokens``: what every slot's logits choose.

    Inputs: logits [B, W, V] any float, drawn_slots [N] int32 (at least the slots of rows with a temperature or an
    ensemble; others get their likeliest token), block [B, W] int32, valid [B] int32 (leading window tokens that are
    real), temperature [B] float32 (0: the likeliest token), seed [B] int64, stream and draw [B] int32 and position
    [B, W] int32 (of the predicted token), which key the random numbers; cut [B, W] float32, tokens with a smaller
    logit are not drawn; drafted_ids [B, W, K] int32 (-1: none) and drafted_shares [B, W, K] float32, the distribution
    that each block token was drawn from, where it is to be verified by rejection sampling; with ``quadratic`` also
    segments [B]
    int32 and ensemble [B] float32 (``graph.step.ensemble``).

    Outputs: choice [B, W] int32; probability [B, W] float32, softmax(z)[choice] at any temperature; finite [B] int32, 0
    where logits of a real token hold NaN or infinity, or no token that could be chosen.
    """

    def body(tape: Tape) -> None:
        axis = tape.constant([_LAST], np.int64)
        scores = float_scores(tape, "logits")
        greedy = tape.op(
            "ArgMax",
            allowed_scores(tape, "logits", mask_token_id, vocab_size),
            axis=_LAST,
            keepdims=0,
            select_last_index=0,
        )

        def draw(branch: Tape) -> list[str]:
            slots = DrawnSlots(branch)
            if quadratic:
                allowed = mixed_scores(branch, slots, mask_token_id, vocab_size)
                likeliest = branch.op("ArgMax", allowed, axis=_LAST, keepdims=0, select_last_index=0)
            else:
                allowed = allowed_scores(branch, slots.vectors("logits"), mask_token_id, vocab_size)
                likeliest = slots.cells(greedy)
            drawn = draw_tokens(branch, slots, allowed, vocab_size, dialect)
            return [slots.put_back(greedy, branch.op("Where", slots.rows(warm), drawn, likeliest))]

        warm = tape.op("Greater", "temperature", tape.constant(0.0, np.float32))
        special = tape.op("Or", warm, mixing_rows(tape)) if quadratic else warm
        (ids,) = only_if(tape, dialect, special, draw, lambda _: [greedy], elements=[TensorProto.INT64])
        tape.op("Cast", ids, to=TensorProto.INT32, name="choice")
        chosen = tape.op("GatherElements", "logits", tape.op("Unsqueeze", ids, axis), axis=_LAST)
        score = tape.op("Squeeze", float_scores(tape, chosen), axis)
        peak = tape.op("ReduceMax", scores, axis, keepdims=1)
        total = tape.op("ReduceSum", tape.op("Exp", tape.op("Sub", scores, peak)), axis, keepdims=0)
        relative = tape.op("Exp", tape.op("Sub", score, tape.op("Squeeze", peak, axis)))
        tape.op("Div", relative, total, name="probability")

        # NaN and infinity both end up in the sum as NaN, which is not less than anything.
        sane = tape.op(
            "And",
            tape.op("Less", total, tape.constant(_LARGEST, np.float32)),
            tape.op("Greater", score, tape.constant(-np.inf, np.float32)),
        )
        harmless = tape.op("Or", sane, tape.op("Not", tape.op("Less", _slots(tape), _column(tape, "valid"))))
        tape.op("ReduceMin", _int32(tape, harmless), axis, name="finite", keepdims=0)

    inputs = (*CHOOSE_INPUTS, *ENSEMBLE_INPUTS) if quadratic else CHOOSE_INPUTS
    return make_function("ChooseTokens", inputs, CHOOSE_OUTPUTS, body)


def block_denoise(mask_token_id: int) -> FunctionProto:
    """``BlockDenoise``: one confidence-based commit step (model-spec 3.3 and 3.4).

    Inputs: choice [B, W] int32, probability [B, W] float32, block [B, W] int32, valid [B] int32, threshold [B] float32,
    quota [B] int32. A masked slot is committed if its probability is at least ``threshold`` or it is among the
    ``quota`` most confident; so quota 1 with a threshold is the confidence policy, an unreachable threshold with a
    quota is the fixed schedule, and threshold 0 fills everything: the one-shot draft.

    Outputs: block_tokens [B, W] int32, confidence [B, W] float32 (-1 where nothing was masked), masks_left [B] int32.
    """

    def body(tape: Tape) -> None:
        slots = _slots(tape)
        is_real = tape.op("Less", slots, _column(tape, "valid"))
        masked = tape.op("And", tape.op("Equal", "block", tape.constant(mask_token_id, np.int32)), is_real)
        confidence = tape.op("Where", masked, "probability", tape.constant(-1.0, np.float32), name="confidence")

        rank = _descending_rank(tape, confidence, slots)
        chosen = tape.op(
            "Or",
            tape.op("Less", rank, _column(tape, "quota")),
            tape.op("GreaterOrEqual", confidence, _column(tape, "threshold")),
        )
        commit = tape.op("And", masked, chosen)
        tape.op("Where", commit, "choice", "block", name="block_tokens")
        waiting = tape.op("And", masked, tape.op("Not", commit))
        tape.op("ReduceSum", _int32(tape, waiting), tape.constant([_LAST], np.int64), name="masks_left", keepdims=0)

    return make_function("BlockDenoise", DENOISE_INPUTS, DENOISE_OUTPUTS, body)


def spec_verify() -> FunctionProto:
    """``SpecVerify``: accept a drafted block by the choices of a causal pass over it (model-spec 3.4).

    Inputs: choice [B, W] int32, block [B, W] int32, valid [B] int32, eos_token_id [B, E] int32 (-1 never matches).

    Outputs: verified_tokens [B, W] int32, the choice behind each token; accepted_count [B] int32, the length of the
    longest run with choice[j] == block[j + 1], plus one; next_seed [B] int32, the last accepted token; eos_position
    [B] int32, the first accepted token that is one of the row's EOS ids, or W if there is none.
    """

    def body(tape: Tape) -> None:
        verified = tape.op("Identity", "choice", name="verified_tokens")
        slots = _slots(tape)
        width = tape.op("Cast", tape.op("Shape", "block", start=1, end=2), to=TensorProto.INT32)
        one = tape.constant(1, np.int32)
        has_draft = tape.op("Less", tape.op("Add", slots, one), _column(tape, "valid"))
        # The next slot's token; behind the last there is none, which has_draft says.
        shifted = tape.op(
            "Slice", "block", *(tape.constant([value], np.int64) for value in (1, np.iinfo(np.int64).max, 1))
        )
        following = tape.op(
            "Pad", shifted, tape.constant([0, 1], np.int64), tape.constant(-1, np.int32), tape.constant([1], np.int64)
        )
        matches = tape.op("And", tape.op("Equal", verified, following), has_draft)
        # The last slot has no draft token behind it and always ends the run.
        first_miss = tape.op(
            "ReduceMin", tape.op("Where", matches, width, slots), tape.constant([_LAST], np.int64), keepdims=1
        )
        accepted = tape.op("Add", first_miss, one)
        tape.op("Squeeze", accepted, tape.constant([_LAST], np.int64), name="accepted_count")
        seed = tape.op("GatherElements", verified, first_miss, axis=1)
        tape.op("Squeeze", seed, tape.constant([_LAST], np.int64), name="next_seed")

        first_token(tape, verified, tape.op("Less", slots, accepted), "eos_token_id", slots, width, name="eos_position")

    return make_function("SpecVerify", VERIFY_INPUTS, VERIFY_OUTPUTS, body)


def decode_functions(
    mask_token_id: int, vocab_size: int, dialect: Dialect, *, quadratic: bool = False
) -> list[FunctionProto]:
    return [
        draft_candidates(mask_token_id, vocab_size, dialect),
        choose_tokens(mask_token_id, vocab_size, dialect, quadratic=quadratic),
        block_denoise(mask_token_id),
        spec_verify(),
        advance(mask_token_id),
    ]


def _slots(tape: Tape) -> str:
    """0 .. W-1 as int32 [W]."""
    width = tape.op("Squeeze", tape.op("Shape", "block", start=1, end=2), tape.constant([0], np.int64))
    width = tape.op("Cast", width, to=TensorProto.INT32)
    return tape.op("Range", tape.constant(0, np.int32), width, tape.constant(1, np.int32))


def _column(tape: Tape, name: str) -> str:
    return tape.op("Unsqueeze", name, tape.constant([1], np.int64))


def _int32(tape: Tape, flags: str) -> str:
    return tape.op("Cast", flags, to=TensorProto.INT32)


def _descending_rank(tape: Tape, values: str, slots: str) -> str:
    """How many slots of [B, W] come before each one, larger values first, lower slots first on ties."""
    mine = tape.op("Unsqueeze", values, tape.constant([2], np.int64))
    other = tape.op("Unsqueeze", values, tape.constant([1], np.int64))
    earlier = tape.op(
        "Less",
        tape.op("Unsqueeze", slots, tape.constant([0], np.int64)),
        tape.op("Unsqueeze", slots, tape.constant([1], np.int64)),
    )
    ahead = tape.op("Or", tape.op("Greater", other, mine), tape.op("And", tape.op("Equal", other, mine), earlier))
    return tape.op("ReduceSum", _int32(tape, ahead), tape.constant([_LAST], np.int64), keepdims=0)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The two decode operators as ONNX functions in the domain ``nld``.

Their bodies, in standard operators, are their meaning: what ONNX Runtime and TensorRT-RTX run, and
the oracle for any other implementation. Statistics are FP32 over the whole vocabulary. MASK stays in
the softmax denominator, as in the reference, and is never chosen. The lowest id wins a tie.

Both choose tokens by ``sampling.choose_tokens``, greedily in rows at temperature 0, and take its
``SAMPLING_INPUTS``: temperature [B] float32, top_k [B] int32, top_p and min_p [B] float32, seed [B] int64,
draw [B] int32 and position [B, W] int32, the absolute position of the token that a slot's logits predict.

Shapes: B rows, W window tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import FunctionProto, TensorProto, helper

from nld_trt.graph.acceptance import RULES, Evidence, RuleName
from nld_trt.graph.linear import Dialect
from nld_trt.graph.sampling import SAMPLING_INPUTS, choose_tokens
from nld_trt.graph.tape import DOMAIN, OPSET, Tape

DENOISE_INPUTS = ("logits", "block", "valid", "threshold", "quota", *SAMPLING_INPUTS)
DENOISE_OUTPUTS = ("block_tokens", "confidence", "masks_left", "finite")
VERIFY_INPUTS = ("logits", "block", "valid", "eos_token_id", *SAMPLING_INPUTS)
VERIFY_OUTPUTS = ("verified_tokens", "accepted_count", "next_seed", "eos_position")

_LAST = -1
_LARGEST = float(np.finfo(np.float32).max)


def block_denoise(mask_token_id: int, dialect: Dialect = "onnxruntime") -> FunctionProto:
    """``BlockDenoise``: one confidence-based commit step (model-spec 3.3 and 3.4).

    Inputs besides those of sampling: logits [B, W, V] any float, block [B, W] int32, valid [B] int32 (leading window tokens
    that are real), threshold [B] float32, quota [B] int32. A masked slot is committed if its
    confidence is at least ``threshold`` or it is among the ``quota`` most confident; so quota 1 with
    a threshold is the confidence policy, an unreachable threshold with a quota is the fixed
    schedule, and threshold 0 fills everything: the one-shot draft.

    Outputs: block_tokens [B, W] int32; confidence [B, W] float32, softmax(z)[choice] at any temperature
    (-1 where nothing was masked); masks_left [B] int32; finite [B] int32, 0 where logits of a real token
    hold NaN or infinity, or no token that could be chosen.
    """

    def body(tape: Tape) -> None:
        scores, allowed = _allowed_scores(tape, mask_token_id)
        choice = choose_tokens(tape, allowed, dialect)
        index = tape.op("Unsqueeze", choice, tape.constant([_LAST], np.int64))
        score = tape.op(
            "Squeeze", tape.op("GatherElements", allowed, index, axis=_LAST), tape.constant([_LAST], np.int64)
        )
        peak = tape.op("ReduceMax", scores, tape.constant([_LAST], np.int64), keepdims=1)
        total = tape.op(
            "ReduceSum", tape.op("Exp", tape.op("Sub", scores, peak)), tape.constant([_LAST], np.int64), keepdims=0
        )
        relative = tape.op("Exp", tape.op("Sub", score, tape.op("Squeeze", peak, tape.constant([_LAST], np.int64))))
        probability = tape.op("Div", relative, total)

        slots = _slots(tape)
        is_real = tape.op("Less", slots, _column(tape, "valid"))
        masked = tape.op("And", tape.op("Equal", "block", tape.constant(mask_token_id, np.int32)), is_real)
        confidence = tape.op("Where", masked, probability, tape.constant(-1.0, np.float32), name="confidence")

        rank = _descending_rank(tape, confidence, slots)
        chosen = tape.op(
            "Or",
            tape.op("Less", rank, _column(tape, "quota")),
            tape.op("GreaterOrEqual", confidence, _column(tape, "threshold")),
        )
        commit = tape.op("And", masked, chosen)
        tape.op("Where", commit, choice, "block", name="block_tokens")
        waiting = tape.op("And", masked, tape.op("Not", commit))
        tape.op("ReduceSum", _int32(tape, waiting), tape.constant([_LAST], np.int64), name="masks_left", keepdims=0)

        # NaN and infinity both end up in the sum as NaN, which is not less than anything.
        sane = tape.op(
            "And",
            tape.op("Less", total, tape.constant(_LARGEST, np.float32)),
            tape.op("Greater", score, tape.constant(-np.inf, np.float32)),
        )
        harmless = tape.op("Or", sane, tape.op("Not", is_real))
        tape.op("ReduceMin", _int32(tape, harmless), tape.constant([_LAST], np.int64), name="finite", keepdims=0)

    return _function("BlockDenoise", DENOISE_INPUTS, DENOISE_OUTPUTS, body)


def spec_verify(
    mask_token_id: int, dialect: Dialect = "onnxruntime", *, rule: RuleName = "match"
) -> FunctionProto:
    """``SpecVerify``: accept a drafted block against causal logits (model-spec 3.4).

    Inputs besides those of sampling: logits [B, W, V] of a causal pass over the block, block [B, W] int32,
    valid [B] int32, eos_token_id [B] int32 (-1 never matches).

    Outputs: verified_tokens [B, W] int32, the verifier's token behind each token; accepted_count [B] int32,
    the length of the longest run in which the rule accepts block[j + 1], plus one; next_seed [B] int32, the
    last accepted token; eos_position [B] int32, the first accepted EOS, or W if there is none.
    """

    def body(tape: Tape) -> None:
        _, allowed = _allowed_scores(tape, mask_token_id)
        sampled = choose_tokens(tape, allowed, dialect)
        slots = _slots(tape)
        width = tape.op("Cast", tape.op("Shape", "block", start=1, end=2), to=TensorProto.INT32)

        shifted = tape.op(
            "Slice", "block", *(tape.constant([value], np.int64) for value in (1, np.iinfo(np.int64).max, 1))
        )
        following = tape.op(
            "Pad", shifted, tape.constant([0, 1], np.int64), tape.constant(-1, np.int32), tape.constant([1], np.int64)
        )
        one = tape.constant(1, np.int32)
        has_draft = tape.op("Less", tape.op("Add", slots, one), _column(tape, "valid"))
        verdict = RULES[rule].record(tape, Evidence(allowed, sampled, following))
        verified = tape.op("Identity", verdict.tokens, name="verified_tokens")
        matches = tape.op("And", verdict.accepted, has_draft)
        # The last slot has no draft token behind it and always ends the run.
        first_miss = tape.op(
            "ReduceMin", tape.op("Where", matches, width, slots), tape.constant([_LAST], np.int64), keepdims=1
        )
        accepted = tape.op("Add", first_miss, one)
        tape.op("Squeeze", accepted, tape.constant([_LAST], np.int64), name="accepted_count")
        seed = tape.op("GatherElements", verified, first_miss, axis=1)
        tape.op("Squeeze", seed, tape.constant([_LAST], np.int64), name="next_seed")

        is_eos = tape.op("Equal", verified, _column(tape, "eos_token_id"))
        stops = tape.op("And", is_eos, tape.op("Less", slots, accepted))
        tape.op(
            "ReduceMin",
            tape.op("Where", stops, slots, width),
            tape.constant([_LAST], np.int64),
            name="eos_position",
            keepdims=0,
        )

    return _function("SpecVerify", VERIFY_INPUTS, VERIFY_OUTPUTS, body)


def decode_functions(mask_token_id: int, dialect: Dialect) -> list[FunctionProto]:
    return [block_denoise(mask_token_id, dialect), spec_verify(mask_token_id, dialect)]


def _function(
    name: str, inputs: tuple[str, ...], outputs: tuple[str, ...], body: Callable[[Tape], None]
) -> FunctionProto:
    tape = Tape()
    body(tape)
    opset = [helper.make_opsetid("", OPSET)]
    nodes = [*tape.constant_nodes(), *tape.nodes]
    return helper.make_function(DOMAIN, name, inputs, outputs, nodes, opset)


def _allowed_scores(tape: Tape, mask_token_id: int) -> tuple[str, str]:
    """FP32 logits, and the same with MASK at minus infinity."""
    scores = tape.op("Cast", "logits", to=TensorProto.FLOAT)
    size = tape.op("Squeeze", tape.op("Shape", "logits", start=2, end=3), tape.constant([0], np.int64))
    ids = tape.op("Range", tape.constant(0, np.int64), size, tape.constant(1, np.int64))
    is_mask = tape.op("Equal", ids, tape.constant(mask_token_id, np.int64))
    bias = tape.op("Where", is_mask, tape.constant(-np.inf, np.float32), tape.constant(0.0, np.float32))
    return scores, tape.op("Add", scores, bias)


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

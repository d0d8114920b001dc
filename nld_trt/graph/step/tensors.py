# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Every tensor that the decode operators read or write, declared once.

The step contract takes those that are inputs or outputs of an engine from here. The ONNX functions, the plugin
operators, the kernels' parameters and the documentation read the same table.

Axes: ``batch`` rows, ``window`` slots of a row, ``vocab`` tokens, ``candidates`` listed tokens of a slot, ``eos_ids``
tokens that end a row's answer, ``slots`` of all rows that are sampled, ``splits`` of the vocabulary, ``partial_words``
32-bit words of a partial result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nld_trt import names
from nld_trt.graph.tape import Tape, Value
from nld_trt.names import Program

# Tokens in the list that a draft is sampled from.
CANDIDATES = 8

# What a row does after a pass without the host: it repeats the pass, or makes the next pass of its mode. The tensor
# `program` holds an index of these.
PROGRAMS: tuple[Program, ...] = (
    names.HOLD, names.TOKEN, names.DIFFUSION, names.LINEAR, names.QUADRATIC, names.BLOCKS,
)  # fmt: skip

# Stands for a floating-point type that the reader of the table chooses.
ANY_FLOAT = "logits"


@dataclass(frozen=True)
class Tensor:
    """``dtype`` is a NumPy name, or ANY_FLOAT."""

    dtype: str
    axes: tuple[str, ...]
    meaning: str

    def on(self, tape: Tape, name: str) -> Value:
        """The tensor as a value called ``name``."""
        return tape.named(name, None if self.dtype == ANY_FLOAT else self.dtype)


@dataclass(frozen=True)
class Operator:
    """A decode operator: its operator type, and the names of its inputs and outputs in order. None is optional."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def attributes(self, mask_token_id: int) -> dict[str, Any]:
        """Attributes of a node of the operator. A function has none: its body knows the id of MASK."""
        return {}


_ROWS = ("batch",)
_WINDOW = ("batch", "window")
_LISTS = ("batch", "window", "candidates")

TENSORS: Mapping[str, Tensor] = {
    # The pass.
    "cache_length": Tensor("int32", _ROWS, "tokens already in the cache: position of the first new token"),
    "valid_count": Tensor("int32", _ROWS, "how many of the new tokens are real"),
    "causal": Tensor(
        "bool",
        _ROWS,
        "causal pass (prefill, token, verify, commit) or bidirectional; of families that see their prompts in blocks, "
        "which have no causal passes, one whose keys and values stay (prefill, commit) or another",
    ),
    "segments": Tensor("int32", _ROWS, "k of a quadratic pass of k drafts and k masks after each; 0: another pass"),
    "program": Tensor(
        "int32", _ROWS, f"how the row continues after the pass: {', '.join(PROGRAMS)} are 0 to {len(PROGRAMS) - 1}"
    ),
    "tokens_left": Tensor("int32", _ROWS, "tokens that the row may still commit; at 0 it repeats its pass"),
    "logits": Tensor(ANY_FLOAT, ("batch", "window", "vocab"), "of every window slot"),
    "block": Tensor("int32", _WINDOW, "window tokens"),
    "valid": Tensor("int32", _ROWS, "leading window slots that are real"),
    "verify_valid": Tensor(
        "int32", _ROWS, "leading window slots that are verified; in a quadratic pass only its drafts"
    ),
    "position": Tensor("int32", _WINDOW, "absolute position of the token that a slot predicts"),
    # Sampling.
    "sampled_slots": Tensor(
        "int32", ("slots",), "row * window + slot of the slots that are sampled; any one slot where none is"
    ),
    "temperature": Tensor("float32", _ROWS, "0: the most likely token; above: a sample from softmax(z / T)"),
    "top_k": Tensor("int32", _ROWS, "only this many of the most likely tokens are sampled; 0: all"),
    "top_p": Tensor("float32", _ROWS, "of those, the fewest whose probabilities add up to this; 1: all"),
    "min_p": Tensor("float32", _ROWS, "of those, at least this likely relative to the most likely; 0: all"),
    "cut": Tensor("float32", _WINDOW, "tokens with a smaller logit are not sampled; -inf allows all"),
    "seed": Tensor("int64", _ROWS, "key of the row's random numbers, 0 or more"),
    "stream": Tensor("int32", _ROWS, "which of the key's independent streams"),
    "sample": Tensor("int32", _ROWS, "number of the sample of a position; 0 except in denoise passes"),
    # Drafts for rejection sampling.
    "proposes": Tensor("bool", _ROWS, "the row drafts for rejection sampling"),
    "candidate_ids": Tensor("int32", _LISTS, "tokens that a slot's draft is sampled from; -1 after the last"),
    "candidate_probabilities": Tensor("float32", _LISTS, "probability of each of them"),
    "drafted_ids": Tensor(
        "int32", _LISTS, "tokens that each block token was sampled from, to be verified by rejection; -1: none"
    ),
    "drafted_probabilities": Tensor("float32", _LISTS, "probability with which the draft took each of them"),
    "ensemble": Tensor("float32", _ROWS, "quadratic: weight of the AR against the diffusion prediction in verifying"),
    # What every slot chooses.
    "choice": Tensor("int32", _WINDOW, "token that a slot chooses"),
    "probability": Tensor("float32", _WINDOW, "softmax(z) of the choice, at any temperature"),
    "finite": Tensor("int32", _ROWS, "0 where a real slot has NaN or +inf, or no allowed token above -inf"),
    # Denoising.
    "threshold": Tensor("float32", _ROWS, "masks with at least this confidence are committed"),
    "quota": Tensor("int32", _ROWS, "at least this many masks are committed, the most confident"),
    "block_tokens": Tensor("int32", _WINDOW, "window tokens after the denoise step"),
    "confidence": Tensor("float32", _WINDOW, "probability of a masked slot's choice; -1 elsewhere"),
    "masks_left": Tensor("int32", _ROWS, "masks in the window after the denoise step"),
    # Verifying.
    "eos_token_id": Tensor("int32", ("batch", "eos_ids"), "tokens that end the answer, then -1: no token"),
    "verified_tokens": Tensor("int32", _WINDOW, "choice of every slot; in kernels -1 where its logits decide nothing"),
    "accepted_count": Tensor("int32", _ROWS, "draft tokens that match, + 1; in kernels 0 for a row that is not finite"),
    "bonus_token": Tensor(
        "int32", _ROWS, "bonus token: the last accepted one, not yet cached; in kernels -1 for a row that is not finite"
    ),
    "eos_position": Tensor("int32", _ROWS, "slot of the first accepted EOS, or the window size"),
    # The row's next pass.
    "next_tokens": Tensor("int32", _WINDOW, "of the row's next pass"),
    "next_cache_length": Tensor("int32", _ROWS, "of the row's next pass"),
    "next_causal": Tensor("bool", _ROWS, "of the row's next pass"),
    "next_sample": Tensor("int32", _ROWS, "of the row's next pass"),
    "next_tokens_left": Tensor("int32", _ROWS, "of the row's next pass; 0: it has ended"),
    # Between the first two plugin operators.
    "partials": Tensor(
        "int32", ("batch", "window", "splits", "partial_words"), "statistics of each split; floats by their bits"
    ),
}

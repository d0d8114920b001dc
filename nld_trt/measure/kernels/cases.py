# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Inputs of the decode operators, random and constructed, for tests, the check on a GPU and the benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from nld_trt.engine.gpu.kernels.spec import TENSORS
from nld_trt.graph.step.tensors import CANDIDATES
from nld_trt.measure.kernels.reference import Array, Values
from nld_trt.model.config import MAX_EOS_IDS

DTYPES: dict[str, npt.DTypeLike] = {"bf16": ml_dtypes.bfloat16, "fp16": np.float16, "fp32": np.float32}
MASK = 100

# (rows, window slots, vocabulary). Vocabularies have one split or several and end with a whole vector or within one;
# windows reach from one slot to more slots than a block has warps.
SIZES = [
    (1, 1, 256),
    (2, 5, 257),
    (64, 1, 259),
    (3, 64, 300),
    (4, 9, 1000),
    (2, 7, 4099),
    (1, 32, 8192),
    (2, 3, 8193),
    (1, 4, 16391),
    (1, 2, 131071),
    (1, 4, 131072),
]


def case(
    batch: int,
    width: int,
    vocab: int,
    logit_type: str = "fp32",
    *,
    spread: float = 3.0,
    temperature: float = 0.0,
    seed: int = 0,
    pattern: Callable[[Array], None] | None = None,
) -> dict[str, Array]:
    """Random inputs of both operators, by name.

    Logits are rounded to ``logit_type`` and held as float32. Drafts often match what is chosen greedily, and often come
    from a list of candidates.

    Args:
        pattern: one of PATTERNS.
    """
    rng = np.random.default_rng((batch, width, vocab, seed))
    logits = rng.normal(scale=spread, size=(batch, width, vocab)).astype(DTYPES[logit_type]).astype(np.float32)
    if pattern:
        pattern(logits)
    block = rng.integers(0, vocab, (batch, width))
    allowed = logits.copy()
    allowed[..., MASK] = -np.inf
    best = allowed.argmax(-1)
    for row in range(batch):
        reach = rng.integers(0, width + 1)
        block[row, 1 : 1 + reach] = best[row, :reach][: width - 1]
    block[rng.random((batch, width)) < 0.5] = MASK
    ids, probabilities = _drafts(rng, block, best, vocab)
    values: dict[str, Any] = {
        "logits": logits,
        "block": block,
        "valid": rng.integers(1, width + 1, batch),
        "verify_valid": rng.integers(1, width + 1, batch),
        "threshold": rng.choice([0.0, 0.02, 0.3, 2.0], batch),
        "quota": rng.integers(0, 4, batch),
        "eos_token_id": _eos_ids(rng, block, best),
        "temperature": np.full(batch, temperature),
        "seed": rng.integers(0, 2**63, batch),
        "stream": rng.integers(0, 2, batch),
        "sample": rng.integers(0, 1000, batch),
        "position": rng.integers(0, 10**6, (batch, width)),
        "cut": np.full((batch, width), -np.inf),
        "drafted_ids": ids,
        "drafted_probabilities": probabilities,
    }
    return {name: value.astype(TENSORS[name].dtype.replace("logits", "float32")) for name, value in values.items()}


def _eos_ids(rng: np.random.Generator, block: Array, best: Array) -> Array:
    """EOS ids of each row, [B, MAX_EOS_IDS]: often a few, in any of the places, and -1 (no id) in the others."""
    ids = rng.choice([*block.reshape(-1), *best.reshape(-1)], (len(block), MAX_EOS_IDS))
    return np.where(rng.random(ids.shape) < rng.choice([0.1, 0.5, 1.0], (len(block), 1)), ids, -1)


def _drafts(rng: np.random.Generator, block: Array, best: Array, vocab: int) -> tuple[Array, Array]:
    """(ids, probabilities) of up to CANDIDATES drafts per slot, with or without the slot's own and its best token."""
    ids = np.full((*block.shape, CANDIDATES), -1)
    probabilities = np.zeros(ids.shape)
    for row, slot in np.ndindex(block.shape):
        wanted = [block[row, slot]] * rng.integers(0, 2) + [best[row, slot - 1]] * rng.integers(0, 2)
        listed = list(dict.fromkeys([*wanted, *rng.integers(0, vocab, CANDIDATES)]))[: rng.integers(0, CANDIDATES + 1)]
        rng.shuffle(listed)
        ids[row, slot, : len(listed)] = listed
        probabilities[row, slot, : len(listed)] = rng.dirichlet(np.full(CANDIDATES, 0.5))[: len(listed)]
    return ids, probabilities


def tie(logits: Array) -> None:
    """Logits of which up to eight are equal: in one vector, one thread, one split, or far apart."""
    vocab = logits.shape[-1]
    rng = np.random.default_rng(vocab)
    logits[:] = -1.0
    for slot in logits.reshape(-1, vocab):
        slot[rng.choice(vocab, rng.integers(1, 9), replace=False)] = 2.0


def level(logits: Array) -> None:
    logits[:] = 1.0


def mostly_minus_infinity(logits: Array) -> None:
    """Logits with -inf at every other token of every slot, and in one slot at all tokens but the last."""
    logits[..., ::2] = -np.inf
    logits[0, 0, :-1] = -np.inf
    logits[0, 0, -1] = 1.0


# Functions, by name, that change logits [B, W, V] and leave at least one token to choose in every slot.
PATTERNS: Mapping[str, Callable[[Array], None]] = {
    "ties": tie,
    "equal logits": level,
    "-inf among the logits": mostly_minus_infinity,
}


def spoils(vocab: int) -> dict[str, Callable[[Array], None]]:
    """Functions, by name, that change the logits of a slot, [V], so that no token of it can be chosen."""
    places = {"first": 0, "MASK": MASK, "middle": vocab // 2, "last": vocab - 1}
    found = {
        f"{value} at the {place} token": _putting(value, token)
        for value in (np.nan, np.inf)
        for place, token in places.items()
    }
    return found | {"-inf everywhere": _put_minus_infinity, "MASK alone above -inf": _put_mask_alone}


def _putting(value: float, token: int) -> Callable[[Array], None]:
    def spoil(slot: Array) -> None:
        slot[token] = value

    return spoil


def _put_minus_infinity(slot: Array) -> None:
    slot[:] = -np.inf


def _put_mask_alone(slot: Array) -> None:
    slot[:] = -np.inf
    slot[MASK] = 1.0


# The temperatures that the rows of a batch take in turn.
ROWS: Mapping[str, tuple[float, ...]] = {"greedy": (0.0,), "sampled": (0.8,), "mixed": (0.0, 0.8, 1e-3, 5.0)}


def with_rows(values: Values, rows: str) -> dict[str, Array]:
    """``values`` with the temperatures of one of ROWS."""
    return {**values, "temperature": np.resize(np.array(ROWS[rows], np.float32), len(values["block"]))}


def filtered(values: Values, kept: int = 20) -> dict[str, Array]:
    """``values`` with every other slot cut at its ``kept`` best logits."""
    cut = values["cut"].copy()
    cut[:, ::2] = np.partition(values["logits"][:, ::2], -kept, -1)[..., -kept]
    return {**values, "cut": cut}


_NO_DRAFT: Mapping[str, float] = {"drafted_ids": -1, "drafted_probabilities": 0.0}


def all_masks(values: Values) -> dict[str, Array]:
    """``values`` with the block that a denoise pass starts from: every slot real and masked, one to commit at least."""
    undrafted = {name: np.full_like(values[name], nothing) for name, nothing in _NO_DRAFT.items()}
    return _whole_block(values, np.full_like(values["block"], MASK), quota=1, threshold=0.9) | undrafted


def matching_draft(values: Values) -> dict[str, Array]:
    """``values`` with the draft that a verify pass likes best: with and without a temperature it is accepted."""
    allowed = values["logits"].copy()
    allowed[..., MASK] = -np.inf
    block = allowed.argmax(-1).astype(values["block"].dtype)
    block = np.concatenate([block[:, :1], block[:, :-1]], -1)
    ids, probabilities = (np.full_like(values[name], nothing) for name, nothing in _NO_DRAFT.items())
    # Where the draft gave a token less than the model does, it is kept.
    ids[..., 0], probabilities[..., 0] = block, 1e-9
    return _whole_block(values, block, quota=0, threshold=2.0) | {
        "drafted_ids": ids,
        "drafted_probabilities": probabilities,
    }


def _whole_block(values: Values, block: Array, *, quota: int, threshold: float) -> dict[str, Array]:
    width = block.shape[1]
    limits = {"valid": width, "verify_valid": width, "quota": quota, "threshold": threshold, "eos_token_id": -1}
    return {
        **values,
        "block": block,
        **{name: np.full_like(values[name], value) for name, value in limits.items()},
    }

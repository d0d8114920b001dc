# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Random inputs of the decode operators, for tests and the benchmark."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from nld_trt.engine.kernels.reference import Array
from nld_trt.engine.kernels.spec import TENSORS
from nld_trt.graph.candidates import CANDIDATES

DTYPES: dict[str, npt.DTypeLike] = {"bf16": ml_dtypes.bfloat16, "fp16": np.float16, "fp32": np.float32}
MASK = 100

# Rows, window slots, vocabulary: one split and several, whole vectors and odd ends, one slot to more than a block has
# warps.
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
) -> dict[str, Array]:
    """Inputs of both operators, by name.

    Logits are rounded to ``logit_type`` and held as float32. Drafts often match what is chosen greedily, and often come
    from a list of candidates.
    """
    rng = np.random.default_rng((batch, width, vocab, seed))
    logits = rng.normal(scale=spread, size=(batch, width, vocab)).astype(DTYPES[logit_type]).astype(np.float32)
    block = rng.integers(0, vocab, (batch, width))
    allowed = logits.copy()
    allowed[..., MASK] = -np.inf
    best = allowed.argmax(-1)
    for row in range(batch):
        reach = rng.integers(0, width + 1)
        block[row, 1 : 1 + reach] = best[row, :reach][: width - 1]
    block[rng.random((batch, width)) < 0.5] = MASK
    ids, shares = _drafts(rng, block, best, vocab)
    values: dict[str, Any] = {
        "logits": logits,
        "block": block,
        "valid": rng.integers(1, width + 1, batch),
        "verify_valid": rng.integers(1, width + 1, batch),
        "threshold": rng.choice([0.0, 0.02, 0.3, 2.0], batch),
        "quota": rng.integers(0, 4, batch),
        "eos_token_id": rng.choice(block.reshape(-1), batch),
        "temperature": np.full(batch, temperature),
        "seed": rng.integers(0, 2**63, batch),
        "stream": rng.integers(0, 2, batch),
        "draw": rng.integers(0, 1000, batch),
        "position": rng.integers(0, 10**6, (batch, width)),
        "cut": np.full((batch, width), -np.inf),
        "drafted_ids": ids,
        "drafted_shares": shares,
    }
    return {name: value.astype(TENSORS[name].dtype.replace("logits", "float32")) for name, value in values.items()}


def _drafts(rng: np.random.Generator, block: Array, best: Array, vocab: int) -> tuple[Array, Array]:
    """(ids, shares) of up to CANDIDATES tokens for each slot, the token in it and the best among them or not."""
    ids = np.full((*block.shape, CANDIDATES), -1)
    shares = np.zeros(ids.shape)
    for row, slot in np.ndindex(block.shape):
        wanted = [block[row, slot]] * rng.integers(0, 2) + [best[row, slot - 1]] * rng.integers(0, 2)
        listed = list(dict.fromkeys([*wanted, *rng.integers(0, vocab, CANDIDATES)]))[: rng.integers(0, CANDIDATES + 1)]
        rng.shuffle(listed)
        ids[row, slot, : len(listed)] = listed
        shares[row, slot, : len(listed)] = rng.dirichlet(np.full(CANDIDATES, 0.5))[: len(listed)]
    return ids, shares

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The decode operators in NumPy and 64-bit floats, written from their definition and not from the kernels.

What tests and the benchmark compare the kernels with. Slow: nothing else uses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
# By the names in TENSORS; logits as float32.
Values = Mapping[str, Array]

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF
_HALF = np.uint64(32)


def philox(counter: Array, key: tuple[int, int]) -> Array:
    """Philox4x32-10. ``counter`` [..., 4] and the result hold 32-bit words as uint64."""
    c0, c1, c2, c3 = (counter[..., j].astype(np.uint64) for j in range(4))
    keys = [int(part) & _LOW for part in key]
    for _ in range(ROUNDS):
        first, second = c0 * np.uint64(MULTIPLIERS[0]), c2 * np.uint64(MULTIPLIERS[1])
        c0, c2 = (second >> _HALF) ^ c1 ^ np.uint64(keys[0]), (first >> _HALF) ^ c3 ^ np.uint64(keys[1])
        c1, c3 = second & np.uint64(_LOW), first & np.uint64(_LOW)
        keys = [(part + weyl) & _LOW for part, weyl in zip(keys, WEYL, strict=True)]
    return np.stack([c0, c1, c2, c3], -1)


def uniform(word: Array) -> Array:
    found: Array = ((word >> np.uint64(9)).astype(np.float64) + 0.5) * 2.0**-23
    return found


def _words(first: Array, seed: int, draw: int, position: int, purpose: int) -> Array:
    counter = np.zeros((len(first), 4), np.uint64)
    counter[:, 0] = first
    counter[:, 1], counter[:, 2], counter[:, 3] = position & _LOW, draw & _LOW, purpose
    return philox(counter, (seed & _LOW, (seed >> 32) & _LOW))


def gumbel(vocab: int, seed: int, draw: int, position: int) -> Array:
    """Noise of every token, [V]."""
    words = _words(np.arange(-(-vocab // 4)), seed, draw, position, 0).reshape(-1)[:vocab]
    noise: Array = -np.log(-np.log(uniform(words)))
    return noise


def chance(seed: int, draw: int, position: int) -> float:
    """What a draft token's share is compared with."""
    return float(uniform(_words(np.zeros(1), seed, draw, position, 1)[0, 0]))


def scores(values: Values, mask_token_id: int) -> Array:
    """What the choice of each slot maximises, [B, W, V]; -inf where a token cannot be chosen."""
    found = values["logits"].astype(np.float64)
    found[..., mask_token_id] = -np.inf
    for row, slot in np.ndindex(found.shape[:2]):
        if values["temperature"][row] > 0:
            found[row, slot] = _sampled_scores(values, found[row, slot], row, slot)
    return found


def _sampled_scores(values: Values, allowed: Array, row: int, slot: int) -> Array:
    temperature = np.float64(np.float32(values["temperature"][row]))
    address = int(values["seed"][row]), int(values["draw"][row]), int(values["position"][row, slot])
    kept = np.where(allowed >= values["cut"][row, slot], allowed, -np.inf)
    # Relative to the best, so that a low temperature leaves the noise its digits.
    peak = kept.max()
    scaled: Array = (kept - (peak if np.isfinite(peak) else 0.0)) / temperature
    noise = gumbel(len(kept), *address)
    afresh: Array = scaled + noise
    if slot + 1 >= values["valid"][row]:
        return afresh
    draft = values["block"][row, slot + 1]
    listed = values["drafted_ids"][row, slot + 1]
    drafted = values["drafted_shares"][row, slot + 1].astype(np.float64)[listed >= 0]
    listed = listed[listed >= 0]
    if draft not in listed:
        return afresh
    weights = np.exp(scaled)
    left = weights / weights.sum()
    if chance(*address) * drafted[listed == draft][0] < left[draft]:
        return np.where(np.arange(len(kept)) == draft, 0.0, -np.inf)
    left[listed] = np.maximum(left[listed] - drafted, 0.0)
    # Where a share is too small for a float, its logarithm is known still.
    logarithm: Array = scaled - np.log(weights.sum())
    with np.errstate(divide="ignore"):
        logarithm[listed] = np.log(left[listed])
    replaced: Array = logarithm + noise
    return replaced


def probabilities(logits: Array) -> Array:
    shares = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    found: Array = shares / shares.sum(-1, keepdims=True)
    return found


def denoise(values: Values, choice: Array, share: Array, mask_token_id: int) -> tuple[Array, Array]:
    """(block tokens, masks left) when ``choice`` [B, W] has the confidence ``share`` [B, W]."""
    block, valid = values["block"], values["valid"]
    tokens, left = block.copy(), np.zeros(len(block), int)
    for row in range(len(block)):
        masked = [slot for slot in range(valid[row]) if block[row, slot] == mask_token_id]
        ranked = sorted(masked, key=lambda slot, row=row: (-share[row, slot], slot))  # type: ignore[misc]
        best = ranked[: values["quota"][row]]
        committed = [slot for slot in masked if slot in best or share[row, slot] >= values["threshold"][row]]
        tokens[row, committed] = choice[row, committed]
        left[row] = len(masked) - len(committed)
    return tokens, left


def verify(values: Values, choice: Array) -> tuple[Array, Array, Array]:
    """(accepted count, next seed, EOS position), each [B]."""
    block, valid, eos = values["block"], values["valid"], values["eos_token_id"]
    width = block.shape[1]
    found = []
    for row in range(len(block)):
        run = 0
        while run + 1 < valid[row] and choice[row, run] == block[row, run + 1]:
            run += 1
        ends = [slot for slot in range(run + 1) if choice[row, slot] == eos[row]]
        found.append((run + 1, choice[row, run], ends[0] if ends else width))
    counts, seeds, positions = (np.array(column) for column in zip(*found, strict=True))
    return counts, seeds, positions


def differences(found: Values, values: Values, mask_token_id: int) -> list[str]:
    """Outputs of a decision that are not what ``values`` ask for. All logits must be finite."""
    logits, choice = values["logits"], found["verified_tokens"]
    score = scores(values, mask_token_id)
    got = np.take_along_axis(score, choice[..., None], -1)[..., 0]
    share = np.take_along_axis(probabilities(logits), choice[..., None], -1)[..., 0]
    masked = (values["block"] == mask_token_id) & (np.arange(logits.shape[1]) < values["valid"][:, None])
    tokens, left = denoise(values, choice, share, mask_token_id)
    exact = {"block_tokens": tokens, "masks_left": left, "finite": np.ones(len(logits), int)}
    exact |= dict(zip(("accepted_count", "next_seed", "eos_position"), verify(values, choice), strict=True))
    greedy = values["temperature"] <= 0
    # Noise and shares are computed in 32 bits: a choice may be one that is equally good within their precision.
    checks = {
        "verified_tokens": np.allclose(got, score.max(-1), rtol=1e-5, atol=1e-4)
        and np.array_equal(choice[greedy], score.argmax(-1)[greedy]),
        "confidence": np.allclose(found["confidence"], np.where(masked, share, -1.0), rtol=1e-4, atol=1e-30),
        **{name: np.array_equal(found[name], expected) for name, expected in exact.items()},
    }
    return [name for name, right in checks.items() if not right]

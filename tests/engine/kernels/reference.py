# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The decode operators in NumPy and 64-bit floats, written from their definition and not from the kernels."""

from __future__ import annotations

import numpy as np

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Philox4x32-10. ``counter`` [..., 4] and the result hold 32-bit words as uint64."""
    c0, c1, c2, c3 = (counter[..., j].astype(np.uint64) for j in range(4))
    keys = [int(part) & 0xFFFFFFFF for part in key]
    for _ in range(ROUNDS):
        first, second = c0 * np.uint64(MULTIPLIERS[0]), c2 * np.uint64(MULTIPLIERS[1])
        c0, c2 = (second >> _HALF) ^ c1 ^ np.uint64(keys[0]), (first >> _HALF) ^ c3 ^ np.uint64(keys[1])
        c1, c3 = second & _LOW, first & _LOW
        keys = [(part + weyl) & 0xFFFFFFFF for part, weyl in zip(keys, WEYL, strict=True)]
    return np.stack([c0, c1, c2, c3], -1)


def uniform(word: np.ndarray) -> np.ndarray:
    return ((word >> np.uint64(9)).astype(np.float64) + 0.5) * 2.0**-23


def gumbel(vocab: int, seed: int, draw: int, position: int) -> np.ndarray:
    """Noise of every token, [V]."""
    counter = np.zeros((-(-vocab // 4), 4), np.uint64)
    counter[:, 0] = np.arange(len(counter))
    counter[:, 1], counter[:, 2] = position & 0xFFFFFFFF, draw & 0xFFFFFFFF
    words = philox(counter, (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF)).reshape(-1)[:vocab]
    return -np.log(-np.log(uniform(words)))


def scores(logits, mask_token_id, temperature, seed, draw, positions, cut) -> np.ndarray:
    """What the choice of each slot maximises, [B, W, V]; -inf where a token is not allowed."""
    found = logits.astype(np.float64)
    for row, slot in np.ndindex(logits.shape[:2]):
        if temperature[row] > 0:
            noise = gumbel(logits.shape[2], int(seed[row]), int(draw[row]), int(positions[row, slot]))
            noisy = found[row, slot] / np.float64(np.float32(temperature[row])) + noise
            found[row, slot] = np.where(found[row, slot] >= cut[row, slot], noisy, -np.inf)
    found[..., mask_token_id] = -np.inf
    return found


def probabilities(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def denoise(block, valid, choice, share, threshold, quota, mask_token_id):
    """(block tokens, masks left) when ``choice`` [B, W] has the confidence ``share`` [B, W]."""
    tokens, left = block.copy(), np.zeros(len(block), int)
    for row in range(len(block)):
        masked = [slot for slot in range(valid[row]) if block[row, slot] == mask_token_id]
        best = sorted(masked, key=lambda slot, row=row: (-share[row, slot], slot))[: quota[row]]
        committed = [slot for slot in masked if slot in best or share[row, slot] >= threshold[row]]
        tokens[row, committed] = choice[row, committed]
        left[row] = len(masked) - len(committed)
    return tokens, left


def verify(block, valid, choice, eos):
    """(accepted count, next seed, EOS position), each [B]."""
    found = []
    for row, width in enumerate([block.shape[1]] * len(block)):
        run = 0
        while run + 1 < valid[row] and choice[row, run] == block[row, run + 1]:
            run += 1
        ends = [slot for slot in range(run + 1) if choice[row, slot] == eos[row]]
        found.append((run + 1, choice[row, run], ends[0] if ends else width))
    return tuple(np.array(column) for column in zip(*found, strict=True))

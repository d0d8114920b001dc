# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The decode operators in NumPy and 64-bit floats, written from their definition and not from the kernels.

Tests and the benchmark compare the kernels with it. It is slow, and nothing else uses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
# Tensors by their names in TENSORS; logits are float32.
Values = Mapping[str, Array]

# Sums of weights in 32 bits are this exact, in parts of the sum: a draw this near to the boundary between two tokens
# may come out as either.
ROUNDING = 1e-5

COLDEST = 1e-30
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF


def philox(counter: tuple[int, ...], key: tuple[int, int]) -> tuple[int, ...]:
    """The generator Philox4x32-10 on 32-bit words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        first, second = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (second >> 32) ^ c1 ^ k0, second & _LOW, (first >> 32) ^ c3 ^ k1, first & _LOW
        k0, k1 = (k0 + WEYL[0]) & _LOW, (k1 + WEYL[1]) & _LOW
    return c0, c1, c2, c3


def uniforms(seed: int, stream: int, position: int, draw: int) -> tuple[float, float]:
    """The two random numbers of a slot: for its draw, and for the test of its drafted token."""
    first, second, *_ = philox((stream, position, draw, 0), (seed & _LOW, seed >> 32 & _LOW))
    return ((first >> 9) + 0.5) * 2.0**-23, ((second >> 9) + 0.5) * 2.0**-23


@dataclass(frozen=True)
class Pool:
    """The tokens that one slot of a row with a temperature can get, by weight.

    Attributes:
        weights: [V] float64, reduced by what the draft took.
        whole: sum of the weights before that.
        drafted: the token that stands in the next slot, where its list holds it.
        margin: by how much its weight exceeds what its test asks for; it is kept above 0.
    """

    weights: Array
    whole: float
    drafted: int | None
    margin: float
    uniform: float

    @property
    def token(self) -> int:
        """The token that the definition chooses."""
        total = self.weights.sum()
        if self.drafted is not None and (self.margin > 0 or total <= 0):
            return self.drafted
        return int(np.argmax(np.cumsum(self.weights) > self.uniform * total))

    def may_give(self, token: int) -> bool:
        """Whether ``token`` is the definition's, or as good within ROUNDING."""
        slack = ROUNDING * self.whole
        total = self.weights.sum()
        if self.drafted is not None:
            if token == self.drafted and (self.margin > -slack or total <= slack):
                return True
            if self.margin > slack:
                return False
        end = self.weights[: token + 1].sum()
        target = self.uniform * total
        return bool(self.weights[token] > 0 and end - self.weights[token] - slack <= target <= end + slack)


def pool(values: Values, row: int, slot: int, mask_token_id: int) -> Pool:
    logits = values["logits"][row, slot].astype(np.float64)
    temperature = max(float(np.float32(values["temperature"][row])), COLDEST)
    allowed = (np.arange(len(logits)) != mask_token_id) & (logits >= values["cut"][row, slot])
    kept = np.where(allowed, logits, -np.inf)
    weights = np.exp((kept - kept.max()) / temperature)
    whole = float(weights.sum())
    seed, stream, turn = (int(values[name][row]) for name in ("seed", "stream", "draw"))
    draw, test = uniforms(seed, stream, int(values["position"][row, slot]), turn)
    if slot + 1 >= values["valid"][row]:
        return Pool(weights, whole, None, 0.0, draw)
    token, ids = int(values["block"][row, slot + 1]), values["drafted_ids"][row, slot + 1]
    shares = values["drafted_shares"][row, slot + 1].astype(np.float64)
    share = float(shares[(ids == token) & (ids >= 0)].sum())
    if share <= 0:
        return Pool(weights, whole, None, 0.0, draw)
    margin = float(weights[token]) - test * share * whole
    left = weights.copy()
    for listed, part in zip(ids[ids >= 0], shares[ids >= 0], strict=True):
        left[listed] = max(left[listed] - part * whole, 0.0)
    return Pool(left, whole, token, margin, draw)


def choices(values: Values, mask_token_id: int) -> Array:
    """The token that the definition chooses in every slot, [B, W]."""
    allowed = values["logits"].astype(np.float64)
    allowed[..., mask_token_id] = -np.inf
    found: Array = allowed.argmax(-1)
    for row, slot in np.ndindex(found.shape):
        if values["temperature"][row] > 0:
            found[row, slot] = pool(values, row, slot, mask_token_id).token
    return found


def wrong_choices(values: Values, choice: Array, mask_token_id: int) -> list[tuple[int, int]]:
    """Each (row, slot) whose choice is neither the definition's nor as good within ROUNDING."""
    allowed = values["logits"].astype(np.float64)
    allowed[..., mask_token_id] = -np.inf
    best = allowed.argmax(-1)
    return [
        (row, slot)
        for row, slot in np.ndindex(choice.shape)
        if not (
            pool(values, row, slot, mask_token_id).may_give(int(choice[row, slot]))
            if values["temperature"][row] > 0
            else choice[row, slot] == best[row, slot]
        )
    ]


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
    block, valid, eos = values["block"], values["verify_valid"], values["eos_token_id"]
    width = block.shape[1]
    found = []
    for row in range(len(block)):
        run = 0
        while run + 1 < valid[row] and choice[row, run] == block[row, run + 1]:
            run += 1
        ends = [slot for slot in range(run + 1) if choice[row, slot] >= 0 and choice[row, slot] in eos[row]]
        found.append((run + 1, choice[row, run], ends[0] if ends else width))
    counts, seeds, positions = (np.array(column) for column in zip(*found, strict=True))
    return counts, seeds, positions


def differences(found: Values, values: Values, mask_token_id: int) -> list[str]:
    """The outputs that the definition contradicts, given the inputs ``values``, whose logits must be finite."""
    logits, choice = values["logits"], found["verified_tokens"]
    share = np.take_along_axis(probabilities(logits), choice[..., None], -1)[..., 0]
    masked = (values["block"] == mask_token_id) & (np.arange(logits.shape[1]) < values["valid"][:, None])
    # Slots are ranked by the confidences that came out: two that are nearly equal may stand in either order.
    tokens, left = denoise(values, choice, found["confidence"], mask_token_id)
    exact = {"block_tokens": tokens, "masks_left": left, "finite": np.ones(len(logits), int)}
    exact |= dict(zip(("accepted_count", "next_seed", "eos_position"), verify(values, choice), strict=True))
    checks = {
        "verified_tokens": not wrong_choices(values, choice, mask_token_id),
        "confidence": np.allclose(found["confidence"], np.where(masked, share, -1.0), rtol=1e-4, atol=1e-30),
        **{name: np.array_equal(found[name], expected) for name, expected in exact.items()},
    }
    return [name for name, right in checks.items() if not right]

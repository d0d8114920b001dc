# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The decode operators in NumPy and 64-bit floats, written from their definition.

The one definition that tests compare the ONNX functions and the kernels with, and the benchmark the kernels. It shares
no code with either, and is slow: nothing else uses it.

Shapes: B rows, W window tokens, V vocabulary, K candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nld_trt.graph.step.tensors import CANDIDATES

Array = npt.NDArray[Any]
# Tensors by their names in TENSORS; logits are float32.
Values = Mapping[str, Array]

# Sums of weights in 32 bits are this exact, in parts of the sum: a sample this near to the boundary between two tokens
# may come out as either.
ROUNDING = 1e-5

COLDEST = 1e-30
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF


def philox(counter: Sequence[Any], key: Sequence[Any]) -> tuple[Any, ...]:
    """Philox4x32-10 of 32-bit words: integers, or arrays of uint64."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        first, second = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (second >> 32) ^ c1 ^ k0, second & _LOW, (first >> 32) ^ c3 ^ k1, first & _LOW
        k0, k1 = (k0 + WEYL[0]) & _LOW, (k1 + WEYL[1]) & _LOW
    return c0, c1, c2, c3


def uniforms(seed: int, position: int, sample: int = 0, stream: int = 0) -> tuple[float, float]:
    """The two random numbers of a slot: for its sample, and for the test of its drafted token."""
    first, second, *_ = philox((stream, position, sample, 0), (seed & _LOW, seed >> 32 & _LOW))
    return ((first >> 9) + 0.5) * 2.0**-23, ((second >> 9) + 0.5) * 2.0**-23


def allowed(logits: Array, mask_token_id: int) -> Array:
    """[..., V] float64 with MASK at minus infinity."""
    is_mask = np.arange(logits.shape[-1]) == mask_token_id
    found: Array = np.where(is_mask, -np.inf, logits.astype(np.float64))
    return found


def greedy(logits: Array, mask_token_id: int) -> Array:
    """[...]: the most likely token of [..., V]; the lowest id wins a tie."""
    found: Array = allowed(logits, mask_token_id).argmax(-1)
    return found


def kept(
    logits: Array, mask_token_id: int, *, temperature: float, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> Array:
    """[V] bool: which tokens can be sampled, by sorting."""
    scores = allowed(logits, mask_token_id) / temperature
    inside: Array = np.arange(len(logits)) != mask_token_id
    weights = np.exp(scores - scores.max())
    if top_k:
        inside &= scores >= np.sort(scores)[-min(top_k, len(scores))]
    if top_p < 1:
        left = np.where(inside, weights, 0.0)
        order = np.argsort(-left, kind="stable")
        reached = np.cumsum(left[order]) >= top_p * left.sum() * (1 - 1e-6)
        inside &= scores >= scores[order[np.argmax(reached)]]
    if min_p > 0:
        inside &= weights >= min_p * (1 - 1e-6)
    return inside


def distribution(logits: Array, mask_token_id: int, **settings: Any) -> Array:
    """[V] float64: the probability with which a token is sampled. ``settings`` are those of :func:`kept`."""
    weights = _weights(allowed(logits, mask_token_id), kept(logits, mask_token_id, **settings), settings["temperature"])
    found: Array = weights / weights.sum()
    return found


def draft_distribution(logits: Array, mask_token_id: int, **settings: Any) -> Array:
    """[V] float64: the probability with which a draft for rejection sampling takes a token.

    All 0 where more than CANDIDATES tokens tie for the first place.
    """
    scores = allowed(logits, mask_token_id)
    ranked = np.sort(scores)[::-1]
    inside = kept(logits, mask_token_id, **settings)
    if len(ranked) > CANDIDATES:
        inside &= scores > ranked[CANDIDATES]
    weights = np.where(inside, np.exp((scores - ranked[0]) / settings["temperature"]), 0.0)
    found: Array = weights / max(weights.sum(), 1e-300)
    return found


def sample(
    logits: Array,
    mask_token_id: int,
    *,
    seed: int,
    position: int,
    sample: int = 0,
    stream: int = 0,
    drafted: int | None = None,
    taken: Array | None = None,
    **settings: Any,
) -> int:
    """The token of a slot; at temperature 0 the most likely one.

    Args:
        drafted: the token that stands in the next slot.
        taken: [V], the distribution that it was sampled from, if it is to be verified by rejection sampling.
        settings: those of :func:`kept`.
    """
    if not settings["temperature"]:
        return int(greedy(logits, mask_token_id))
    weights = distribution(logits, mask_token_id, **settings)
    return Pool.of(weights, uniforms(seed, position, sample, stream), drafted, taken).token


def _weights(scores: Array, inside: Array, temperature: float) -> Array:
    """[V] float64: exp((z - max z) / T) of the tokens inside, 0 of the others."""
    left = np.where(inside, scores, -np.inf)
    found: Array = np.exp((left - left.max()) / temperature)
    return found


@dataclass(frozen=True)
class Pool:
    """The tokens that one slot of a row with a temperature can get, by weight.

    Attributes:
        weights: [V] float64, less what a draft took.
        whole: sum of the weights before that.
        drafted: the token that stands in the next slot, where its list holds it.
        margin: by how much its weight exceeds what its test asks for; it is kept above 0.
    """

    weights: Array
    whole: float
    drafted: int | None
    margin: float
    uniform: float

    @classmethod
    def of(cls, weights: Array, numbers: tuple[float, float], drafted: int | None, taken: Array | None) -> Pool:
        """The pool of a slot, with the drafted token's test if its distribution is known.

        Args:
            weights: [V] float64, in proportion to what the model gives the tokens.
            numbers: the slot's :func:`uniforms`.
            drafted: the token in the next slot, None without one.
            taken: [V], the probability with which the draft took each token; None where that is not known.
        """
        whole = float(weights.sum())
        if drafted is None or taken is None or taken[drafted] <= 0:
            return cls(weights, whole, None, 0.0, numbers[0])
        margin = float(weights[drafted] - numbers[1] * float(taken[drafted]) * whole)
        return cls(np.maximum(weights - taken * whole, 0.0), whole, drafted, margin, numbers[0])

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
    """What a slot of the operators' inputs can get."""
    logits = values["logits"][row, slot]
    temperature = max(float(np.float32(values["temperature"][row])), COLDEST)
    weights = _weights(allowed(logits, mask_token_id), logits >= values["cut"][row, slot], temperature)
    seed, stream, sample = (int(values[name][row]) for name in ("seed", "stream", "sample"))
    numbers = uniforms(seed, int(values["position"][row, slot]), sample, stream)
    if slot + 1 >= values["valid"][row]:
        return Pool.of(weights, numbers, None, None)
    ids, probabilities = (values[name][row, slot + 1] for name in ("drafted_ids", "drafted_probabilities"))
    taken = np.zeros(len(weights))
    np.add.at(taken, ids[ids >= 0], probabilities[ids >= 0].astype(np.float64))
    return Pool.of(weights, numbers, int(values["block"][row, slot + 1]), taken)


def choices(values: Values, mask_token_id: int) -> Array:
    """The token that the definition chooses in every slot, [B, W]."""
    found = greedy(values["logits"], mask_token_id)
    for row, slot in np.ndindex(found.shape):
        if values["temperature"][row] > 0:
            found[row, slot] = pool(values, row, slot, mask_token_id).token
    return found


def wrong_choices(values: Values, choice: Array, mask_token_id: int) -> list[tuple[int, int]]:
    """Each (row, slot) whose choice is neither the definition's nor as good within ROUNDING."""
    best = greedy(values["logits"], mask_token_id)
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
    """Softmax along the last axis, MASK included."""
    weights = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    found: Array = weights / weights.sum(-1, keepdims=True)
    return found


def denoise(values: Values, choice: Array, confidence: Array, mask_token_id: int) -> tuple[Array, Array]:
    """(block tokens, masks left) when ``choice`` [B, W] has the probability ``confidence`` [B, W]."""
    block, valid = values["block"], values["valid"]
    tokens, left = block.copy(), np.zeros(len(block), int)
    for row in range(len(block)):
        masked = [slot for slot in range(valid[row]) if block[row, slot] == mask_token_id]
        ranked = sorted(masked, key=lambda slot, row=row: (-confidence[row, slot], slot))  # type: ignore[misc]
        best = ranked[: values["quota"][row]]
        committed = [slot for slot in masked if slot in best or confidence[row, slot] >= values["threshold"][row]]
        tokens[row, committed] = choice[row, committed]
        left[row] = len(masked) - len(committed)
    return tokens, left


def verify(values: Values, choice: Array) -> tuple[Array, Array, Array]:
    """(accepted count, bonus token, EOS position), each [B]."""
    block, valid, eos = values["block"], values["verify_valid"], values["eos_token_id"]
    width = block.shape[1]
    found = []
    for row in range(len(block)):
        run = 0
        while run + 1 < valid[row] and choice[row, run] == block[row, run + 1]:
            run += 1
        ends = [slot for slot in range(run + 1) if choice[row, slot] >= 0 and choice[row, slot] in eos[row]]
        found.append((run + 1, choice[row, run], ends[0] if ends else width))
    counts, bonus, positions = (np.array(column) for column in zip(*found, strict=True))
    return counts, bonus, positions


def differences(found: Values, values: Values, mask_token_id: int) -> list[str]:
    """The outputs that the definition contradicts, given the inputs ``values``, whose logits must be finite."""
    logits, choice = values["logits"], found["verified_tokens"]
    probability = np.take_along_axis(probabilities(logits), choice[..., None], -1)[..., 0]
    masked = (values["block"] == mask_token_id) & (np.arange(logits.shape[1]) < values["valid"][:, None])
    # Slots are ranked by the confidences that came out: two that are nearly equal may stand in either order.
    tokens, left = denoise(values, choice, found["confidence"], mask_token_id)
    exact = {"block_tokens": tokens, "masks_left": left, "finite": np.ones(len(logits), int)}
    exact |= dict(zip(("accepted_count", "bonus_token", "eos_position"), verify(values, choice), strict=True))
    checks = {
        "verified_tokens": not wrong_choices(values, choice, mask_token_id),
        "confidence": np.allclose(found["confidence"], np.where(masked, probability, -1.0), rtol=1e-4, atol=1e-30),
        **{name: np.array_equal(found[name], expected) for name, expected in exact.items()},
    }
    return [name for name, right in checks.items() if not right]

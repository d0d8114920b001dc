# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Training batches that hold both kinds of pass: clean tokens as the cache has them, and masked blocks after them.

One row is ``[clean tokens | noised tokens]``. A noised token sees its whole block and the clean tokens before that
block, which is what a pass over a block sees when the model is served. What else differs is the kind of blocks:

- ``BONUS_BLOCKS`` (Nemotron-Labs-Diffusion): a clean token sees clean tokens up to itself. Slot 0 of every block keeps
  its real token, because a served block starts with the bonus token, which the pass before it predicted.
- ``ALIGNED_BLOCKS`` (SDAR): blocks stand at multiples of their length from the prompt's first token on, and a clean
  token sees its whole block. The block in which the answer begins keeps the rest of the prompt; all else may be masked.
- ``NO_BLOCKS`` (autoregressive models): a clean token sees clean tokens up to itself, and nothing is noised.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import Literal

import torch
from tokenizer import EOS_ID, MASK_ID
from torch import Tensor

IGNORE = -100

BlockKind = Literal["none", "bonus", "aligned"]
NO_BLOCKS: BlockKind = "none"
BONUS_BLOCKS: BlockKind = "bonus"
ALIGNED_BLOCKS: BlockKind = "aligned"


@dataclass(frozen=True)
class Example:
    """Token ids of one training conversation; ``answer`` ends with EOS."""

    prompt: list[int]
    answer: list[int]

    @property
    def ids(self) -> list[int]:
        return self.prompt + self.answer


@dataclass(frozen=True)
class Batch:
    """The tensors of one step, with B rows, T clean tokens, N noised tokens and L = T + N."""

    tokens: Tensor  # [B, L]
    positions: Tensor  # [B, L]
    mask: Tensor  # [B, 1, L, L], True where a query may look
    gate: Tensor  # [B, L, 1], 1 on noised tokens, where the draft adapter acts
    next_targets: Tensor  # [B, T], the token after each clean answer token, else IGNORE
    same_targets: Tensor  # [B, N], the token that each masked slot hides, else IGNORE
    levels: Tensor  # [B, N], probability with which slots of its block were masked
    slots: Tensor  # [B, N], index of a noised token within its block

    @property
    def clean(self) -> int:
        return self.next_targets.shape[1]


@dataclass(frozen=True)
class Layout:
    """Where the noised blocks of an example stand: ``count`` of them, of ``length`` tokens, from ``start`` on."""

    kind: BlockKind
    length: int
    start: int
    count: int

    @property
    def noised(self) -> int:
        return self.length * self.count

    @classmethod
    def draw(cls, example: Example, rng: random.Random, kind: BlockKind, lengths: tuple[int, ...]) -> Layout:
        """Choose a block length, and where bonus blocks begin."""
        if kind == NO_BLOCKS:
            return cls(kind, 1, 0, 0)
        length = rng.choice(lengths)
        if kind == ALIGNED_BLOCKS:
            start = len(example.prompt) // length * length
        else:
            # Half of the rows start a block at the first answer token, as diffusion does; the others start one
            # anywhere in the answer, as a speculative round does.
            phase = 0 if rng.random() < 0.5 else rng.randrange(min(length, len(example.answer)))
            start = len(example.prompt) + phase
        return cls(kind, length, start, -(-(len(example.ids) - start) // length))

    def limits(self, positions: Tensor) -> Tensor:
        """The last position that a clean token at each of ``positions`` sees."""
        if self.kind == ALIGNED_BLOCKS:
            return (positions // self.length + 1) * self.length - 1
        return positions

    def may_be_masked(self, example: Example) -> Tensor:
        """Which of the noised tokens decoding may see as MASK."""
        places = torch.arange(self.noised)
        if self.kind == ALIGNED_BLOCKS:
            return self.start + places >= len(example.prompt)
        return places % self.length > 0


def make(
    examples: list[Example],
    rng: random.Random,
    *,
    kind: BlockKind = BONUS_BLOCKS,
    block_lengths: tuple[int, ...],
    full_mask: float,
) -> Batch:
    """Build a batch with one block length per row and, of bonus blocks, a random block phase.

    Args:
        full_mask: probability that a block is wholly masked, the state from which a draft starts. Other
            blocks are masked at a uniformly random level.
    """
    clean = max(len(example.ids) for example in examples)
    layouts = [Layout.draw(example, rng, kind, block_lengths) for example in examples]
    noised = max(layout.noised for layout in layouts)

    rows, total = len(examples), clean + noised
    tokens = torch.full((rows, total), EOS_ID)
    positions = torch.zeros(rows, total, dtype=torch.long)
    positions[:, :clean] = torch.arange(clean)
    block_of = torch.full((rows, total), -1)
    limit = torch.zeros(rows, total, dtype=torch.long)
    next_targets = torch.full((rows, clean), IGNORE)
    same_targets = torch.full((rows, noised), IGNORE)
    masked_share = torch.ones(rows, noised)
    slots = torch.arange(noised).repeat(rows, 1)
    for row, (example, layout) in enumerate(zip(examples, layouts, strict=True)):
        ids, used, start = example.ids, layout.noised, layout.start
        tokens[row, : len(ids)] = torch.tensor(ids)
        limit[row, :clean] = layout.limits(torch.arange(clean))
        next_targets[row, len(example.prompt) - 1 : len(ids) - 1] = torch.tensor(example.answer)
        # Slots after the end of the answer predict EOS, so that its last block can be filled in one pass.
        truth = torch.tensor((ids + [EOS_ID] * (start + used - len(ids)))[start : start + used])
        offsets = torch.arange(used)
        slot, block = offsets % layout.length, offsets // layout.length
        levels = torch.tensor([1.0 if rng.random() < full_mask else rng.random() for _ in range(layout.count)])
        draws = torch.tensor([rng.random() for _ in range(used)])
        masked = (draws < levels[block]) & layout.may_be_masked(example)
        span = slice(clean, clean + used)
        tokens[row, span] = torch.where(masked, MASK_ID, truth)
        same_targets[row, :used] = torch.where(masked, truth, IGNORE)
        positions[row, span] = start + offsets
        block_of[row, span] = block
        limit[row, span] = start + block * layout.length - 1
        masked_share[row, :used] = levels[block]
        slots[row, :used] = slot
        slots[row, used:] = 0
    key_is_clean = torch.arange(total) < clean
    sees_clean = key_is_clean & (positions[:, None, :] <= limit[:, :, None])
    same_block = (block_of[:, :, None] == block_of[:, None, :]) & (block_of[:, :, None] >= 0)
    mask = (sees_clean | same_block)[:, None]
    gate = (~key_is_clean).float().expand(rows, -1)[..., None]
    return Batch(tokens, positions, mask, gate, next_targets, same_targets, masked_share, slots)


class Loader:
    """An endless source of steps of about ``tokens_per_batch`` clean tokens, one micro-batch for each band of lengths.

    Every step has examples of all bands: task families differ in length, and steps of single families would pull the
    weights back and forth. Rows of a micro-batch have similar lengths, so little of it is padding.
    """

    BANDS = 4

    def __init__(self, examples: list[Example], seed: int, tokens_per_batch: int) -> None:
        self.rng = random.Random(seed)
        by_length = sorted(examples, key=lambda example: len(example.ids))
        edges = [len(by_length) * band // self.BANDS for band in range(self.BANDS + 1)]
        self.bands = [by_length[low:high] for low, high in itertools.pairwise(edges)]
        mean = sum(len(example.ids) for example in examples) / len(examples)
        self.rows = max(1, round(tokens_per_batch / self.BANDS / mean))

    def draw(self) -> list[list[Example]]:
        return [self.rng.sample(band, self.rows) for band in self.bands]

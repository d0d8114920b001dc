# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Two engines that run the same forwards, and the sums of how far their predictions differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from nld_trt.engine.session import Session
from nld_trt.errors import OperationError
from nld_trt.graph.contract import Limits
from nld_trt.measure.compare.divergence import Tally, kl_divergence
from nld_trt.measure.compare.forcing import ForcedPass, ForcedText, run_passes

# Fractions of a block's slots after the bonus token that are masked: from a fresh block to one that is nearly done.
NOISE_LEVELS = (1.0, 0.75, 0.5, 0.25)

_SEED = 2026


@dataclass(frozen=True)
class Reading:
    """A kind of bidirectional pass over a block, and what it found.

    Attributes:
        level: fraction of the slots after the bonus token that are masked.
        tally: of predictions at masked slots.
    """

    level: float
    adapter: bool
    tally: Tally

    def masked(self, number: int, block: int, block_length: int) -> list[int]:
        """Return the masked slots of a question's block, ascending; they are the same in every run and engine.

        A lower level masks a part of what a higher one does. The bonus token in slot 0 is never masked.
        """
        order = np.random.default_rng([_SEED, number, block]).permutation(np.arange(1, block_length)).tolist()
        return sorted(order[: max(1, round(self.level * len(order)))])


class Lockstep:
    """Runs both engines over the same texts. It is not thread-safe.

    Attributes:
        causal: sums over the next-token predictions.
        levels: passes without the adapter, one per noise level; none without MASK.
        draft: the pass with the adapter; None unless both engines have one.
    """

    def __init__(self, reference: Session, candidate: Session, block_length: int) -> None:
        """``reference`` and ``candidate`` must be two sessions with debug outputs, even if both run one engine."""
        self._sessions = {"reference": reference, "candidate": candidate}
        infos = [session.info for session in self._sessions.values()]
        assert reference is not candidate
        assert all(info.debug for info in infos)
        limits = [info.limits.to_dict() for info in infos]
        self._limits = Limits(**{name: min(each[name] for each in limits) for name in limits[0]})
        self._capacity = min(info.limits.capacity for info in infos)
        self._config = reference.info.config
        self._block_length = block_length
        self.causal = Tally()
        levels = () if self._config.mask_token_id is None else NOISE_LEVELS
        self.levels = [Reading(level, False, Tally()) for level in levels]
        self.draft = Reading(1.0, True, Tally()) if all(info.has_adapter for info in infos) else None

    @property
    def max_rows(self) -> int:
        """Rows that a forward can have in both engines."""
        return self._limits.max_batch_size

    def read(self, texts: Sequence[ForcedText]) -> None:
        """Compare all predictions on at most ``max_rows`` texts; each text is a row of every forward.

        Raises:
            OperationError: an engine gave logits that are not finite.
        """
        # Sort by the number of blocks, largest first: the rows that have block N are then the first rows.
        rows = sorted(texts, key=lambda text: text.answer_length, reverse=True)
        window = self._limits.max_block_length
        longest = max(map(len, rows))
        # Idle rows stay at the end of their text, and a forward writes its full width after it.
        chunk = min(self._limits.prompt_chunk, max(text.prompt_length for text in rows), self._capacity - longest)
        for session in self._sessions.values():
            session.reserve(len(rows), longest + max(chunk, window), held=0)
        for step in zip_longest(*(text.causal_passes(chunk, window) for text in rows)):
            passes = [text.idle if each is None else each for text, each in zip(rows, step, strict=True)]
            self._forward(passes, rows, self.causal)
        # Read the last block first: a bidirectional pass overwrites its block in the cache, which later blocks need.
        for block in reversed(range(rows[0].blocks(self._block_length))):
            self._read_block(block, [text for text in rows if block < text.blocks(self._block_length)])

    def _read_block(self, block: int, rows: Sequence[ForcedText]) -> None:
        """Run every kind of pass over one block of every row."""
        for reading in (*self.levels, *([self.draft] if self.draft is not None else [])):
            passes = [
                text.block_pass(
                    block,
                    reading.masked(text.number, block, self._block_length),
                    block_length=self._block_length,
                    mask=self._config.mask_id,
                    pad=self._config.eos_token_id,
                    adapter=reading.adapter,
                )
                for text in rows
            ]
            if any(each.slots for each in passes):
                self._forward(passes, rows, reading.tally)

    def _forward(self, passes: Sequence[ForcedPass], rows: Sequence[ForcedText], tally: Tally) -> None:
        outputs = [run_passes(session, passes).outputs for session in self._sessions.values()]
        for row, (each, text) in enumerate(zip(passes, rows, strict=True)):
            wanted = np.s_[row, : len(each.slots)]
            logits = [output["logits"][wanted].astype(np.float64) for output in outputs]
            for role, values in zip(self._sessions, logits, strict=True):
                if not np.isfinite(values).all():
                    raise OperationError(
                        f"the {role} engine's logits are not finite in a {each.kind} pass over question {text.name}",
                        fix="Its numbers overflow: build it in another precision.",
                    )
            # Compare the tokens that decoding would choose: never MASK, and the lowest id at a tie.
            picks = [output["verified_tokens"][wanted] for output in outputs]
            tally.add(kl_divergence(*logits), picks[0] == picks[1])

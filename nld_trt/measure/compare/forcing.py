# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Teacher forcing: an engine reads given tokens, in the kinds of pass that decoding makes.

Causal passes first fill the cache with the whole text of a row. Then bidirectional passes read its blocks, the last one
first: a bidirectional pass overwrites the cache from its own start on, which no earlier block reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nld_trt import names
from nld_trt.decode.fill import Pass, PassSettings, fill
from nld_trt.engine.session import Session, StepBuffers, execute


@dataclass(frozen=True)
class ForcedPass:
    """One row's part of a forward.

    Attributes:
        tokens: new tokens, starting at slot ``cache_length`` of the row.
        slots: indexes of the new tokens whose logits are compared, ascending.
    """

    tokens: Sequence[int]
    cache_length: int
    slots: Sequence[int] = ()
    causal: bool = True
    adapter: bool = False

    @property
    def kind(self) -> str:
        """For messages."""
        return "causal" if self.causal else names.DRAFT if self.adapter else "bidirectional"

    def as_pass(self) -> Pass:
        """A pass of a decoding row. Decoding always wants some logits, so that engines are asked for no fewer."""
        wanted = self.slots or (len(self.tokens) - 1,)
        settings = PassSettings(adapter=self.adapter)
        return Pass(self.tokens, self.cache_length, causal=self.causal, wanted=wanted, settings=settings)


@dataclass(frozen=True)
class ForcedText:
    """A prompt of at least one token and its answer of at least one.

    Attributes:
        tokens: both, in one sequence.
        prompt_length: in tokens.
        number, name: of the question, among all questions and for messages.
    """

    tokens: tuple[int, ...]
    prompt_length: int
    number: int
    name: str

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def answer_length(self) -> int:
        return len(self) - self.prompt_length

    @property
    def idle(self) -> ForcedPass:
        """A pass for a forward in which this row has nothing to do. It writes no slot that a later pass reads."""
        return ForcedPass(self.tokens[-1:], len(self) - 1)

    def causal_passes(self, chunk: int, window: int) -> Iterator[ForcedPass]:
        """Yield passes over the text without its last token, which compare the logits that predict each answer token.

        Args:
            chunk: prompt tokens per pass.
            window: tokens per pass whose logits are compared.
        """
        # The prompt's last token predicts the answer's first.
        first = self.prompt_length - 1
        for start in range(0, first, chunk):
            yield ForcedPass(self.tokens[start : min(start + chunk, first)], start)
        end = len(self) - 1
        for start in range(first, end, window):
            tokens = self.tokens[start : min(start + window, end)]
            yield ForcedPass(tokens, start, range(len(tokens)))

    def blocks(self, block_length: int) -> int:
        """The number of blocks that the answer takes."""
        return -(-self.answer_length // block_length)

    def block_pass(
        self, index: int, masked: Sequence[int], *, block_length: int, mask: int, pad: int, adapter: bool
    ) -> ForcedPass:
        """A bidirectional pass over block ``index`` of the answer, after the true text.

        Args:
            masked: slots of the block that hold MASK, ascending; slot 0 is the bonus token and never one of them.
            mask, pad: token ids; ``pad`` fills the block after the text.

        Returns:
            A pass whose ``slots`` are the masked ones that stand for a token of the answer: decoding cuts off
            whatever comes after its end.
        """
        start = self.prompt_length + index * block_length
        block = [*self.tokens[start : start + block_length]]
        real = len(block)
        block += [pad] * (block_length - real)
        for slot in masked:
            block[slot] = mask
        slots = [slot for slot in masked if slot < real]
        return ForcedPass(block, start, slots, causal=False, adapter=adapter)


def run_passes(session: Session, passes: Sequence[ForcedPass]) -> StepBuffers:
    """Run one forward with a pass for each of the first rows. Window slot i of a row has the logits of ``slots[i]``.

    Returns:
        The session's buffers, whose values hold until its next forward.
    """
    buffers = fill(session, [each.as_pass() for each in passes])
    execute(session, buffers)
    return buffers

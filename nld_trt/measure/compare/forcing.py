# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Teacher forcing: an engine reads given tokens, in the kinds of pass that decoding makes.

Causal passes first fill the cache with the whole text of a row. Then bidirectional passes read its blocks, the last one
first: a bidirectional pass overwrites the cache from its own start on, which no earlier block reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nld_trt.decode.fill import PLAIN
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
        """The kind of pass, for messages."""
        return "causal" if self.causal else "draft" if self.adapter else "bidirectional"


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
        """A pass for a forward in which this row has nothing to read. It changes nothing that a later pass reads."""
        return ForcedPass(self.tokens[-1:], len(self) - 1)

    def causal_passes(self, chunk: int, window: int) -> Iterator[ForcedPass]:
        """Yield passes over the text without its last token, which compare the logits that predict each answer token.

        Args:
            chunk: prompt tokens per pass.
            window: tokens per pass whose logits are compared.
        """
        # The logits of the prompt's last token predict the answer's first.
        seed = self.prompt_length - 1
        for start in range(0, seed, chunk):
            yield ForcedPass(self.tokens[start : min(start + chunk, seed)], start)
        end = len(self) - 1
        for start in range(seed, end, window):
            tokens = self.tokens[start : min(start + window, end)]
            yield ForcedPass(tokens, start, range(len(tokens)))

    def blocks(self, block_length: int) -> int:
        """Return the number of blocks of the answer."""
        return -(-self.answer_length // block_length)

    def block_pass(
        self, index: int, masked: Sequence[int], *, block_length: int, mask: int, pad: int, adapter: bool
    ) -> ForcedPass:
        """Return a bidirectional pass over block ``index`` of the answer, after the true text before it.

        Args:
            masked: slots of the block that hold MASK, ascending; slot 0 has the bonus token and is never one of them.
            mask, pad: token ids; ``pad`` fills the block after the end of the text.

        Returns:
            A pass whose ``slots`` are the masked ones before the end of the answer: decoding drops whatever comes after
            it.
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
    width = max(len(each.tokens) for each in passes)
    window = max(1, *(len(each.slots) for each in passes))
    buffers = session.step(len(passes), width, window)
    inputs = buffers.inputs
    for name, value in PLAIN.items():
        inputs[name][:] = value
    for row, each in enumerate(passes):
        count = len(each.tokens)
        inputs["tokens"][row, :count] = each.tokens
        inputs["tokens"][row, count:] = 0
        inputs["cache_length"][row] = each.cache_length
        inputs["valid_count"][row] = count
        inputs["causal"][row] = each.causal
        inputs["draft_adapter"][row] = each.adapter
        # Every forward of decoding reads logits of each row, so the last token's are read here where none are compared.
        wanted = each.slots or (count - 1,)
        inputs["logit_rows"][row, : len(wanted)] = wanted
        inputs["logit_rows"][row, len(wanted) :] = -1
    execute(session, buffers)
    return buffers

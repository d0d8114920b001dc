# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The decoding modes: how each opens a request, and what its passes commit.

The engine makes every pass in between from the results of the one before (``nld_trt.graph.step.advance``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import ClassVar, Final

from nld_trt import names
from nld_trt.decode.figures import Counters
from nld_trt.decode.fill import UNREACHABLE, Outcome, Pass, PassSettings
from nld_trt.decode.request import ResolvedRequest
from nld_trt.graph.contract import quadratic_width
from nld_trt.names import ModeName, PassKind

# The most likely token of any vocabulary has a larger probability, so that a smaller top_p keeps the same; in float32
# it could become 0, which no token would be needed to reach.
_SMALLEST_TOP_P: Final = 1e-30


class Mode:
    """One mode over one request. It knows nothing of engines, batches or text.

    Attributes:
        causal, bidirectional: kinds of its passes, for counts and messages.
        emits_bonus_token: whether the bonus token of a causal pass is emitted by that pass. Otherwise the pass that
            caches it does so.
        settings: of all its passes that the engine goes on from.
    """

    causal: ClassVar[PassKind]
    bidirectional: ClassVar[PassKind]
    emits_bonus_token: ClassVar[bool] = True

    def __init__(self, request: ResolvedRequest, mask_token_id: int) -> None:
        self.request = request
        self.mask_token_id = mask_token_id
        self.settings = PassSettings(
            eos_token_ids=request.eos_token_ids,
            ensemble=request.ensemble,
            rejection=request.rejection,
            temperature=request.temperature,
            top_k=request.top_k,
            top_p=max(request.top_p, _SMALLEST_TOP_P),
            min_p=request.min_p,
            seed=request.seed or 0,
        )

    @property
    def block_length(self) -> int:
        return self.request.block_length

    @property
    def widest(self) -> int:
        """The most tokens of one of its passes."""
        return self.block_length

    @property
    def unit(self) -> int:
        """The tokens of a prompt whose keys and values are computed together, because they see each other."""
        return 1

    def kind(self, part: Pass) -> PassKind:
        return self.causal if part.causal else self.bidirectional

    def opening(self, bonus_token: int, drafts: Sequence[int] = ()) -> Pass:
        """The first pass after the prefill, which has decided ``bonus_token``: a block of it and masks.

        A block of one token has nothing to fill, and is committed or verified at once.

        Args:
            drafts: what an Eagle3 head has drafted after the bonus token.
        """
        block = [bonus_token] + [self.mask_token_id] * (self.block_length - 1)
        return Pass(block, causal=len(block) == 1, settings=self.settings)

    def second(self, outcome: Outcome) -> Pass:
        """The pass after an opening one from which the engine does not go on by itself."""
        raise NotImplementedError

    def committed(self, part: Pass, outcome: Outcome) -> list[int]:
        """Tokens to emit after a causal pass; the last is the bonus token where the mode emits it."""
        return outcome.verified_tokens[: outcome.accepted_count]

    def count(self, counters: Counters, part: Pass, outcome: Outcome) -> None:
        """Add a pass of this mode to the request's counts."""
        counters.forwards[self.kind(part)] += 1


class Autoregressive(Mode):
    """One causal token per forward (docs/model.md, Autoregressive decoding)."""

    causal = names.TOKEN
    bidirectional = names.TOKEN

    def __init__(self, request: ResolvedRequest, mask_token_id: int) -> None:
        super().__init__(request, mask_token_id)
        self.settings = replace(self.settings, program=names.TOKEN)
        if request.max_thinking_tokens is not None:
            # A budget may put its marker in the place of an EOS, at which the engine would have stopped.
            self.settings = replace(self.settings, eos_token_ids=())

    @property
    def block_length(self) -> int:
        return 1


class BlockDiffusion(Mode):
    """A block is denoised by confidence and then committed by a causal pass (docs/model.md, Diffusion).

    The last block is denoised whole and cut afterwards.
    """

    causal = names.COMMIT
    bidirectional = names.DENOISE
    emits_bonus_token = False

    def __init__(self, request: ResolvedRequest, mask_token_id: int) -> None:
        super().__init__(request, mask_token_id)
        threshold = UNREACHABLE if request.threshold is None else request.threshold
        # A block has fewer masks than slots, so that the reference's quota schedule is one commit per pass.
        self.settings = replace(self.settings, program=names.DIFFUSION, threshold=threshold, quota=1)

    def committed(self, part: Pass, outcome: Outcome) -> list[int]:
        return list(part.tokens)

    def count(self, counters: Counters, part: Pass, outcome: Outcome) -> None:
        # Every block that was begun has been committed: this pass begins another.
        if len(counters.denoise_passes) == counters.forwards[names.COMMIT]:
            counters.denoise_passes.append(0)
        super().count(counters, part, outcome)
        if not part.causal and outcome.finite:
            counters.denoise_passes[-1] += 1


class AlignedDiffusion(BlockDiffusion):
    """Diffusion of a network that sees its prompts in blocks, too (docs/model.md, Block-causal diffusion).

    Blocks stand at multiples of their length from the prompt's first token on. What is left of the prompt after its
    whole blocks begins the first one that is denoised. No pass is causal: one over the finished block commits it, and
    decides nothing of the next.
    """

    def __init__(self, request: ResolvedRequest, mask_token_id: int) -> None:
        super().__init__(request, mask_token_id)
        # Every pass commits its share of a whole block, at least.
        quota = 1 if request.steps is None else ceil(request.block_length / request.steps)
        self.settings = replace(self.settings, program=names.BLOCKS, quota=quota)

    @property
    def unit(self) -> int:
        return self.block_length

    def first(self, known: Sequence[int]) -> Pass:
        """The first pass after the prompt's whole blocks, over a block of ``known``, the rest of it, and masks.

        An EOS of the prompt ends nothing: while it is in the block, the engine looks for none.
        """
        block = [*known, *[self.mask_token_id] * (self.block_length - len(known))]
        ends = not set(known) & set(self.settings.eos_token_ids)
        settings = self.settings if ends else replace(self.settings, eos_token_ids=())
        return Pass(block, causal=False, settings=settings)


class Speculation(Mode):
    """Every emitted token is the causal verifier's, so that the text equals that of AR: greedily, and with the
    acceptance rule ``match`` at a temperature too."""

    def __init__(self, request: ResolvedRequest, mask_token_id: int) -> None:
        super().__init__(request, mask_token_id)
        self.settings = replace(self.settings, adapter=request.lora, threshold=0.0, quota=1)

    def count(self, counters: Counters, part: Pass, outcome: Outcome) -> None:
        super().count(counters, part, outcome)
        if part.causal and outcome.finite:
            counters.accepted.append(outcome.accepted_count)


class LinearSpeculation(Speculation):
    """A block is drafted bidirectionally and verified causally (docs/model.md, Linear self-speculation).

    The last round is never shortened: rounds and their acceptance stay comparable, and the surplus is cut.
    """

    causal = names.VERIFY
    bidirectional = names.DRAFT

    def __init__(self, request: ResolvedRequest, mask_token_id: int) -> None:
        super().__init__(request, mask_token_id)
        self.settings = replace(self.settings, program=names.LINEAR, threshold=request.threshold or 0.0)


class QuadraticSpeculation(Speculation):
    """One pass verifies a draft and drafts after every token of it (docs/model.md, Quadratic self-speculation).

    A pass holds k drafted tokens, the bonus token first, and k masks after each of them. Wherever the verifier stops,
    the masks after the last accepted token have drafted what follows: only the first pass does nothing but draft.
    """

    causal = names.QUADRATIC
    bidirectional = names.DRAFT

    def __init__(self, request: ResolvedRequest, mask_token_id: int) -> None:
        super().__init__(request, mask_token_id)
        self.settings = replace(self.settings, program=names.QUADRATIC, segments=self.block_length)

    @property
    def widest(self) -> int:
        return quadratic_width(self.block_length)

    def opening(self, bonus_token: int, drafts: Sequence[int] = ()) -> Pass:
        draft = super().opening(bonus_token)
        if draft.causal:
            return self._verifying(draft.tokens)
        # The next pass is wider, so that the host makes it.
        return replace(draft, settings=replace(self.settings, program=names.HOLD, segments=0))

    def second(self, outcome: Outcome) -> Pass:
        return self._verifying(outcome.block_tokens)

    def _verifying(self, drafts: Sequence[int]) -> Pass:
        masks = [self.mask_token_id] * self.block_length**2
        return Pass([*drafts, *masks], settings=self.settings)


class Eagle3Speculation(Speculation):
    """A head drafts a chain of tokens, which the next pass verifies (docs/model.md, Eagle3 head).

    Every pass verifies, and its forward makes the next draft. That is what the engine's rule of quadratic passes says
    of passes without segments; the head's drafts stand in the place of their masks.
    """

    causal = names.VERIFY
    bidirectional = names.VERIFY

    def __init__(self, request: ResolvedRequest, mask_token_id: int) -> None:
        super().__init__(request, mask_token_id)
        self.settings = replace(self.settings, program=names.QUADRATIC, drafted=True)

    def opening(self, bonus_token: int, drafts: Sequence[int] = ()) -> Pass:
        return Pass([bonus_token, *drafts[: self.block_length - 1]], settings=self.settings)


MODE_TYPES: Final[Mapping[ModeName, type[Mode]]] = {
    names.AR: Autoregressive,
    names.DIFFUSION: BlockDiffusion,
    names.LINEAR: LinearSpeculation,
    names.QUADRATIC: QuadraticSpeculation,
    names.EAGLE3: Eagle3Speculation,
}


def mode_of(request: ResolvedRequest, mask_token_id: int) -> Mode:
    """The mode of a request that is not of mode auto."""
    made = AlignedDiffusion if request.aligned else MODE_TYPES[request.mode]
    return made(request, mask_token_id)


@dataclass(frozen=True)
class ThinkingBudget:
    """A limit on the tokens before the end-of-thinking marker, which is forced where it is reached.

    Attributes:
        tokens: how many may be generated without the marker.
        marker: token id.
    """

    tokens: int
    marker: int

    def forced(self, following: Pass, before: Sequence[int], mask_token_id: int, known: int = 0) -> Pass:
        """``following``, a pass whose block comes after the generated tokens ``before``, with the marker if it is due.

        A block that has no mask left is committed by a causal pass at once.

        Args:
            known: tokens of the prompt that the block begins with.
        """
        if self.marker in before or self.tokens >= len(before) + len(following.tokens) - known:
            return following
        block = list(following.tokens)
        block[known + max(0, self.tokens - len(before))] = self.marker
        return replace(following, tokens=block, causal=mask_token_id not in block)

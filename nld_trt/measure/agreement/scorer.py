# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What an engine thinks of another server's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request
from nld_trt.decode.result import Result
from nld_trt.engine.session import Session
from nld_trt.errors import OperationError
from nld_trt.measure.compare.forcing import ForcedText, run_passes
from nld_trt.model.text.codec import Codec
from nld_trt.names import AR

Logits = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """An engine's opinion of each token of an answer.

    Attributes:
        margins: how far the token is below the most likely one, in nats; 0 where it is that one.
        best: the most likely tokens.
        logprobs: natural logarithms of the tokens' probabilities.
    """

    margins: tuple[float, ...]
    best: tuple[int, ...]
    logprobs: tuple[float, ...]


class Scorer:
    """Scores answers with a session that has debug outputs."""

    def __init__(self, session: Session) -> None:
        assert session.info.debug
        self._session = session

    def answer(self, ids: Sequence[int], max_tokens: int, codec: Codec) -> Result:
        """The engine's own greedy answer."""
        request = Request(tuple(ids), AR, max_new_tokens=max_tokens, temperature=0.0)
        ((_, result),) = generate(Batch(self._session, codec), [request])
        return result.or_raise()

    def score(self, prompt: Sequence[int], answer: Sequence[int], *, stopped: bool) -> Scores:
        """Score each token of ``answer`` after the tokens before it.

        Args:
            stopped: the last token stands for any that ends an answer.

        Raises:
            OperationError: the engine's logits are not finite.
        """
        if not answer:
            return Scores((), (), ())
        config = self._session.info.config
        logits = self._logits([*prompt, *answer], len(prompt))
        # Decoding never chooses it.
        if config.mask_token_id is not None:
            logits[:, config.mask_token_id] = -np.inf
        places, best = np.arange(len(answer)), logits.argmax(-1)
        chosen = logits[places, list(answer)]
        if stopped:
            chosen[-1] = logits[-1, list(config.eos_token_ids)].max()
        highest = logits.max(-1)
        total = highest + np.log(np.exp(logits - highest[:, None]).sum(-1))
        return Scores(
            margins=tuple((highest - chosen).tolist()),
            best=tuple(best.tolist()),
            logprobs=tuple((chosen - total).tolist()),
        )

    def _logits(self, tokens: Sequence[int], prompt_length: int) -> Logits:
        """The logits [A, V] that predict each token after the prompt."""
        session, limits = self._session, self._session.info.limits
        text = ForcedText(tuple(tokens), prompt_length, number=0, name="of the server")
        window = limits.max_block_length
        chunk = max(1, min(limits.prompt_chunk, prompt_length, limits.capacity - len(tokens)))
        session.reserve(1, min(len(tokens) + max(chunk, window), limits.capacity), held=0)
        found: list[Any] = []
        for each in text.causal_passes(chunk, window):
            outputs = run_passes(session, [each]).outputs
            if each.slots:
                found.append(outputs["logits"][0, : len(each.slots)].astype(np.float64))
        logits: Logits = np.concatenate(found)
        if not np.isfinite(logits).all():
            raise OperationError(
                "the engine's logits are not finite on an answer of the server",
                fix="Its numbers overflow: build it in another precision.",
            )
        return logits


def ids_of(codec: Codec, text: str, own: Sequence[int]) -> tuple[int, ...]:
    """The token ids of a server's text: those of our own answer as far as they spell it, then the tokenizer's.

    A text can be spelled by several sequences of tokens, and the tokenizer's need not be what was generated.
    """
    most = max(count for count in range(len(own) + 1) if text.startswith(codec.decode(own[:count])))
    shared = codec.decode(own[:most])
    return (*own[:most], *codec.encode_part(text[len(shared) :]))

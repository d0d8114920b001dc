# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracy, tokens per forward, acceptance length and speed of an engine on prompts with known answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from nld_trt.decode.batch import Batch
from nld_trt.decode.figures import Counts, figures_of
from nld_trt.decode.generate import generate
from nld_trt.decode.request import ResolvedRequest
from nld_trt.decode.result import Result
from nld_trt.engine.session import EngineInfo
from nld_trt.errors import OperationError
from nld_trt.measure.questions import Question
from nld_trt.measure.variant import Variant
from nld_trt.progress import SILENT, Stage


@dataclass(frozen=True)
class Score:
    """One row of an evaluation.

    Attributes:
        accuracy: fraction of answers that equal the expected text exactly, outer white space aside; None
            without expected answers or a tokenizer.
        block_length: what was asked for, or the mode's own; None without blocks.
        tokens_per_forward, acceptance_length, denoise_passes_per_block, tokens_per_second, host_share: figures of
            ``decode.figures`` over all answers. The wall time is that of the whole run, prefill included.
    """

    mode: str
    block_length: int | None
    requests: int
    tokens: int
    accuracy: float | None
    accuracy_by_family: dict[str, float]
    tokens_per_forward: float
    acceptance_length: float | None
    denoise_passes_per_block: float | None
    tokens_per_second: float
    seconds: float
    host_share: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def requests_for(
    questions: Sequence[Question],
    variant: Variant,
    info: EngineInfo,
    *,
    max_new_tokens: int | None,
    block_length: int | None = None,
    threshold: float | None = None,
) -> list[ResolvedRequest]:
    """A request for each question, with the engine's defaults filled in.

    Raises:
        InputError: a question or a setting does not fit the engine.
    """
    variant.block_length(info, block_length)
    return [
        variant.request(
            question.prompt_ids, max_new_tokens=max_new_tokens, block_length=block_length, threshold=threshold
        ).resolved(info)
        for question in questions
    ]


def evaluate(
    batch: Batch,
    questions: Sequence[Question],
    variant: Variant,
    *,
    max_new_tokens: int | None,
    batch_size: int,
    block_length: int | None = None,
    threshold: float | None = None,
    stage: Stage = SILENT,
) -> Score:
    """Decode every question in batches of ``batch_size`` and score the answers.

    Wall time covers prefill, decoding and detokenization; one untimed batch goes first.

    Args:
        stage: is told of each question that is finished.

    Raises:
        InputError: a question or a setting does not fit the engine; nothing was decoded.
        OperationError: an answer ended by an error.
    """
    info = batch.session.info
    requests = requests_for(
        questions,
        variant,
        info,
        max_new_tokens=max_new_tokens,
        block_length=block_length,
        threshold=threshold,
    )
    for index, result in generate(batch, requests[:batch_size]):
        good(result, questions[index], variant)
    results: dict[int, Result] = {}
    engine_before = batch.engine_seconds
    started = time.perf_counter()
    for first in range(0, len(questions), batch_size):
        for index, result in generate(batch, requests[first : first + batch_size]):
            results[first + index] = good(result, questions[first + index], variant)
            stage.advance(1)
    seconds = time.perf_counter() - started
    engine_seconds = batch.engine_seconds - engine_before
    return _score(variant, variant.block_length(info, block_length), questions, results, seconds, engine_seconds)


def good(result: Result, question: Question, variant: Variant) -> Result:
    """``result``, the answer to ``question``.

    Raises:
        OperationError: it ended by an error.
    """
    if result.error is not None:
        raise OperationError(
            f"the answer to prompt {question.request_id} in mode {variant.name} failed: {result.error}"
        )
    return result


def _score(
    variant: Variant,
    block_length: int | None,
    questions: Sequence[Question],
    results: dict[int, Result],
    seconds: float,
    engine_seconds: float,
) -> Score:
    right: dict[str, list[bool]] = {}
    for index, question in enumerate(questions):
        text = results[index].text
        if question.answer is not None and text is not None:
            right.setdefault(question.family or "all", []).append(text.strip() == question.answer.strip())
    marks = [mark for family in right.values() for mark in family]
    counts = replace(
        Counts.total(result.counts for result in results.values()), seconds=seconds, engine_seconds=engine_seconds
    )
    figures: dict[str, Any] = figures_of(counts)
    return Score(
        mode=variant.name,
        block_length=block_length,
        requests=len(questions),
        tokens=counts.tokens,
        accuracy=sum(marks) / len(marks) if marks else None,
        accuracy_by_family={family: sum(values) / len(values) for family, values in sorted(right.items())},
        seconds=seconds,
        **figures,
    )

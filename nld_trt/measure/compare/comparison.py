# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The comparison of two engines: both predict the same tokens, in each kind of pass.

The tokens are each question's prompt and the reference engine's own greedy answer, so both engines have read the same
text at every position, even where their own answers would differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nld_trt import names
from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.session import EngineInfo, Session
from nld_trt.errors import InputError
from nld_trt.measure.compare.divergence import Divergence, Tally
from nld_trt.measure.compare.forcing import ForcedText
from nld_trt.measure.compare.lockstep import Lockstep
from nld_trt.measure.questions import Question
from nld_trt.measure.score import good, requests_for
from nld_trt.measure.variant import VARIANTS
from nld_trt.model.text.files import TOKENIZER_FILE
from nld_trt.progress import SILENT, Stage

# Rows of one forward. More rows would need more memory for logits and change nothing else.
MAX_ROWS = 8


@dataclass(frozen=True)
class Comparison:
    """Divergence of the candidate from the reference, by kind of pass.

    Attributes:
        causal: next-token predictions of every answer token.
        bidirectional: predictions of masked tokens, adapter off, over all noise levels.
        by_noise_level: the same for each of ``lockstep.NOISE_LEVELS``.
        draft: predictions of a fully masked block, adapter on; None unless both engines have an adapter.
    """

    causal: Divergence
    bidirectional: Divergence
    by_noise_level: Mapping[float, Divergence]
    draft: Divergence | None

    def to_dict(self) -> dict[str, Any]:
        levels = {str(level): asdict(figures) for level, figures in self.by_noise_level.items()}
        return {
            "causal": asdict(self.causal),
            "bidirectional": {**asdict(self.bidirectional), "by_noise_level": levels},
            "draft": None if self.draft is None else asdict(self.draft),
        }


def check_comparable(candidate: EngineFolder, reference: EngineFolder, block_length: int | None) -> None:
    """Refuse engines whose token ids or blocks differ.

    Args:
        block_length: what the user asked for; None for the default, which must be the same in both.

    Raises:
        InputError: the engines differ; the message lists everything that does.
    """
    ours, theirs = candidate.manifest, reference.manifest
    if ours.config.family.reads_canvas:
        raise InputError(
            f"the predictions of {ours.config.family.title} are over its whole canvas, and only those of causal passes "
            "and of blocks after them are compared",
            fix="Evaluate each engine by itself, without --against, and compare their scores.",
        )
    stated = [manifest.config.to_dict() for manifest in (ours, theirs)]
    problems = [
        f"{name} is {stated[0][name]} and {stated[1][name]}"
        for name in ("vocab_size", "mask_token_id", "eos_token_id", "block_size")
        if stated[0][name] != stated[1][name]
    ]
    tokenizers = [
        manifest.files[TOKENIZER_FILE].sha256 for manifest in (ours, theirs) if TOKENIZER_FILE in manifest.files
    ]
    if len(set(tokenizers)) > 1:
        problems.append(f"{TOKENIZER_FILE} differs")
    if problems:
        raise InputError(
            f"the engines in {candidate.path} and {reference.path} cannot be compared",
            details=problems,
            fix="Compare engines that were built from one checkpoint, or from quantized forms of it.",
        )
    lengths = [min(manifest.config.block_size, manifest.limits.max_block_length) for manifest in (ours, theirs)]
    if block_length is None and len(set(lengths)) > 1:
        raise InputError(
            f"the engine in {candidate.path} decodes blocks of {lengths[0]} and the one in {reference.path} "
            f"blocks of {lengths[1]}",
            fix=f"Choose a length that both were built for: --block-length {min(lengths)}",
        )
    family = ours.config.family
    if names.AR not in family.modes:
        raise InputError(
            f"{family.title} has no causal predictions, which are what two engines are compared by",
            fix="Evaluate each engine by itself, without --against, and compare their scores.",
        )


def compare(
    reference: Session,
    candidate: Session,
    questions: Sequence[Question],
    *,
    max_new_tokens: int | None = None,
    block_length: int | None = None,
    max_rows: int = MAX_ROWS,
    stage: Stage = SILENT,
) -> Comparison:
    """Compare two engines that :func:`check_comparable` accepts.

    Args:
        reference, candidate: two sessions with debug outputs, even where both run one engine.
        max_new_tokens: limit of the reference's answers; None means up to 512, as many as fit both engines.
        block_length: None means the reference's.
        max_rows: questions read together; the figures do not depend on it, rounding aside.
        stage: is told of each question that is finished.

    Raises:
        InputError: a question or the block length does not fit one of the engines.
        OperationError: an engine gave logits that are not finite.
    """
    length = reference.info.default_block_length if block_length is None else block_length
    texts = _answered(reference, candidate.info, questions, max_new_tokens, length)
    lockstep = Lockstep(reference, candidate, length)
    rows = min(max_rows, lockstep.max_rows)
    # Group answers of similar length, so that the rows of a forward have about as many blocks.
    texts.sort(key=lambda text: text.answer_length)
    for first in range(0, len(texts), rows):
        together = texts[first : first + rows]
        lockstep.read(together)
        stage.advance(len(together))
    return Comparison(
        causal=lockstep.causal.figures(),
        bidirectional=sum((reading.tally for reading in lockstep.levels), Tally()).figures(),
        by_noise_level={reading.level: reading.tally.figures() for reading in lockstep.levels},
        draft=None if lockstep.draft is None else lockstep.draft.tally.figures(),
    )


def _answered(
    reference: Session, other: EngineInfo, questions: Sequence[Question], limit: int | None, block_length: int
) -> list[ForcedText]:
    """Return every question with the reference's greedy answer, cut to what both engines can hold."""
    variant = VARIANTS[names.AR]
    ours, theirs = (
        requests_for(questions, variant, info, max_new_tokens=limit, block_length=block_length)
        for info in (reference.info, other)
    )
    shorter = [min(pair, key=lambda request: request.max_new_tokens or 0) for pair in zip(ours, theirs, strict=True)]
    answers = {
        number: good(result, questions[number], variant) for number, result in generate(Batch(reference), shorter)
    }
    return [
        ForcedText(
            tokens=(*question.prompt_ids, *answers[number].output_ids),
            prompt_length=len(question.prompt_ids),
            number=number,
            name=question.request_id,
        )
        for number, question in enumerate(questions)
    ]

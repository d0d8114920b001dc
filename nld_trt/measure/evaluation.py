# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The evaluation of one engine, or of an engine beside a reference: scores per mode, and how far predictions differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nld_trt.decode.engine import Engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.session import Session
from nld_trt.errors import InputError
from nld_trt.measure.compare.comparison import Comparison, check_comparable, compare
from nld_trt.measure.questions import Question
from nld_trt.measure.score import Score, evaluate, requests_for
from nld_trt.measure.variant import Variant, greedy_note, parse_variants
from nld_trt.progress import SILENT, Progress


@dataclass(frozen=True)
class EvaluationSettings:
    """What every engine of an evaluation is asked for; None means the engine's or the mode's default.

    Attributes:
        modes: comma list of variants; None means all that the engine has.
        batch_size: requests decoded together.
        max_new_tokens, block_length: in tokens.
        threshold: commit confidence in diffusion and linear mode.
    """

    modes: str | None = None
    batch_size: int = 1
    max_new_tokens: int | None = None
    block_length: int | None = None
    threshold: float | None = None

    @property
    def of_requests(self) -> dict[str, Any]:
        """The settings that each request has."""
        return {
            "max_new_tokens": self.max_new_tokens,
            "block_length": self.block_length,
            "threshold": self.threshold,
        }


@dataclass(frozen=True)
class EngineScores:
    """One engine of an evaluation, and its scores.

    Attributes:
        engine: name of the model.
        quantization: algorithm of the quantization; None where the weights are in the checkpoint's precision.
        folder: where the engine is.
        scores: one for each variant, in the order that was asked for.
    """

    engine: str
    model_sha256: str
    quantization: str | None
    backend: str
    precision: str
    folder: Path
    has_adapter: bool
    scores: tuple[Score, ...]

    @property
    def title(self) -> str:
        """Model, quantization, backend and precision, for the head of a table."""
        quantized = f" {self.quantization}" if self.quantization else ""
        return f"{self.engine}{quantized}, {self.backend} {self.precision}"

    def identity(self) -> dict[str, Any]:
        return {
            "engine": self.engine,
            "model_sha256": self.model_sha256,
            "quantization": self.quantization,
            "backend": self.backend,
            "precision": self.precision,
        }


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        reference: the engine that was compared with, if there was one.
        comparison: predictions of ``candidate`` against those of ``reference``; None without a reference.
        block_length: of the comparison, in tokens.
    """

    candidate: EngineScores
    reference: EngineScores | None
    comparison: Comparison | None
    batch_size: int
    block_length: int

    def to_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            **self.candidate.identity(),
            "batch_size": self.batch_size,
            "scores": [score.to_dict() for score in self.candidate.scores],
        }
        if self.reference is not None and self.comparison is not None:
            scores = [score.to_dict() for score in self.reference.scores]
            found["against"] = {**self.reference.identity(), "scores": scores}
            found["comparison"] = {"block_length": self.block_length, **self.comparison.to_dict()}
        return found

    def warnings(self) -> list[str]:
        """Sentences on what could not be compared."""
        if self.reference is None or self.candidate.has_adapter == self.reference.has_adapter:
            return []
        bare = self.reference if self.candidate.has_adapter else self.candidate
        return [
            f"the engine in {bare.folder} has no draft adapter: its linear mode drafts without, "
            "and draft predictions are not compared"
        ]


def open_reference(
    folder: Path,
    candidate: Engine,
    backend: str | None,
    settings: EvaluationSettings,
    progress: Progress = SILENT,
) -> Engine:
    """Open the engine that ``candidate`` is to be compared with.

    Args:
        backend: None means the one that runs ``candidate``.
        progress: is told how far the loading is.

    Raises:
        InputError: the engine does not have that backend, or the two engines cannot be compared.
    """
    reference = EngineFolder.open(folder)
    check_comparable(candidate.folder, reference, settings.block_length)
    if backend is None:
        backend = candidate.info.backend
        built = reference.manifest.backends
        if backend not in built:
            raise InputError(
                f"the engine in {folder} has no {backend} backend, which runs the engine that it is compared with; "
                f"it has {', '.join(built)}",
                fix=f"Compare with what it has: --against-backend {next(iter(built))}",
            )
    return Engine.open(reference, backend=backend, progress=progress)


def evaluate_engines(
    engine: Engine,
    questions: Sequence[Question],
    settings: EvaluationSettings,
    *,
    against: Engine | None = None,
    progress: Progress = SILENT,
) -> Evaluation:
    """Score an engine once per variant; with ``against``, score that too and compare the predictions of both.

    Args:
        against: what :func:`open_reference` returned. Both engines are closed then: the comparison needs sessions with
            logits, and weights need not be in memory twice.

    Raises:
        InputError: a setting or a question does not fit an engine, or an engine has no logits to compare. Nothing was
            decoded.
        OperationError: an answer ended by an error.
    """
    engines = [engine] if against is None else [engine, against]
    for each in engines:
        _check(each, settings, with_logits=against is not None)
    variants = [parse_variants(settings.modes, each.info) for each in engines]
    for each, chosen in zip(engines, variants, strict=True):
        for variant in chosen:
            requests_for(questions, variant, each.info, **settings.of_requests)
    for each in engines:
        if note := greedy_note(each.info):
            progress.note(note)
    scored = [
        _scores(each, questions, chosen, settings, whose, progress)
        for each, chosen, whose in zip(engines, variants, ("", " (against)"), strict=False)
    ]
    block_length = settings.block_length or engine.info.default_block_length
    if against is None:
        return Evaluation(scored[0], None, None, settings.batch_size, block_length)
    with progress.stage("comparing predictions", total=len(questions), unit="prompts") as stage:
        candidate, reference = _with_logits(engine, progress), _with_logits(against, progress)
        comparison = compare(
            reference,
            candidate,
            questions,
            max_new_tokens=settings.max_new_tokens,
            block_length=block_length,
            stage=stage,
        )
    return Evaluation(scored[0], scored[1], comparison, settings.batch_size, block_length)


def _check(engine: Engine, settings: EvaluationSettings, *, with_logits: bool) -> None:
    if with_logits:
        engine.folder.info(engine.info.backend, debug=True)  # refuses an engine whose logits cannot be had
    most = engine.info.limits.max_batch_size
    if not 1 <= settings.batch_size <= most:
        raise InputError(
            f"--batch-size is {settings.batch_size}; the engine in {engine.folder.path} was built for 1 to {most}"
        )


def _scores(
    engine: Engine,
    questions: Sequence[Question],
    variants: Sequence[Variant],
    settings: EvaluationSettings,
    whose: str,
    progress: Progress,
) -> EngineScores:
    """Score every variant. ``whose`` tells the two engines of a comparison apart in the names of the stages."""
    scores = []
    for variant in variants:
        with progress.stage(f"decoding {variant.name}{whose}", total=len(questions), unit="prompts") as stage:
            score = evaluate(
                engine.decoder,
                questions,
                variant,
                batch_size=settings.batch_size,
                stage=stage,
                **settings.of_requests,
            )
        scores.append(score)
    manifest = engine.folder.manifest
    model, quantization = manifest.model, manifest.quantization
    return EngineScores(
        engine=model["name"],
        model_sha256=model["sha256"],
        quantization=quantization["algorithm"] if quantization else None,
        backend=engine.info.backend,
        precision=engine.info.precision,
        folder=engine.folder.path,
        has_adapter=manifest.has_adapter,
        scores=tuple(scores),
    )


def _with_logits(engine: Engine, progress: Progress) -> Session:
    """Close the engine; return its session, or one with debug outputs in its place."""
    info, session = engine.info, engine.session
    engine.close()
    if info.debug:
        return session
    del session
    return engine.folder.open_session(info.backend, debug=True, progress=progress)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The evaluation of one engine or two, as a function of open engines."""

from __future__ import annotations

import pytest

from nld_trt.decode.engine import Engine
from nld_trt.errors import InputError
from nld_trt.measure.evaluation import EvaluationSettings, evaluate_engines, open_reference
from nld_trt.measure.questions import Question
from tests.recorded_progress import Recorded

QUESTIONS = [Question(str(index), (1, 73, 20 + index), None, None) for index in range(2)]
SETTINGS = EvaluationSettings(modes="ar,linear", batch_size=2, max_new_tokens=6)


def opened(engine, *, debug: bool = False) -> Engine:
    return Engine.open(engine("tiny-a", debug=debug).path)


def test_one_engine_is_scored_once_per_variant(engine) -> None:
    found = evaluate_engines(opened(engine), QUESTIONS, SETTINGS)
    assert [score.mode for score in found.candidate.scores] == ["ar", "linear"]
    assert (found.reference, found.comparison, found.warnings()) == (None, None, [])
    assert found.to_dict().keys() == {
        "engine", "model_sha256", "quantization", "backend", "precision", "batch_size", "scores",
    }  # fmt: skip


def test_stages_have_the_size_of_the_work(engine) -> None:
    told = Recorded()
    evaluate_engines(opened(engine), QUESTIONS, SETTINGS, progress=told)
    assert told.stages == ["decoding ar", "decoding linear"]
    assert told.totals == [(len(QUESTIONS), "prompts")] * 2
    assert told.done == [(1, False)] * 2 * len(QUESTIONS)


def test_an_engine_against_itself_agrees_with_itself(engine) -> None:
    told = Recorded()
    candidate = opened(engine, debug=True)
    reference = open_reference(candidate.folder.path, candidate, None, SETTINGS)
    found = evaluate_engines(candidate, QUESTIONS, SETTINGS, against=reference, progress=told)
    assert found.comparison.causal.top1_agreement == 1.0
    assert found.to_dict()["comparison"]["causal"]["kl"] == 0.0
    assert told.stages[-1] == "comparing predictions"
    assert [score.mode for score in found.reference.scores] == ["ar", "linear"]


def test_engines_are_closed_after_a_comparison(engine) -> None:
    candidate = opened(engine, debug=True)
    reference = open_reference(candidate.folder.path, candidate, None, SETTINGS)
    evaluate_engines(candidate, QUESTIONS, SETTINGS, against=reference)
    for closed in (candidate, reference):
        with pytest.raises(InputError, match="is closed"):
            closed.session  # noqa: B018


def test_a_setting_that_does_not_fit_is_refused_before_any_work(engine) -> None:
    told = Recorded()
    with pytest.raises(InputError, match="--batch-size is 99"):
        evaluate_engines(opened(engine), QUESTIONS, EvaluationSettings(batch_size=99), progress=told)
    assert told.stages == []

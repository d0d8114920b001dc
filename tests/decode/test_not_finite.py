# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""An engine whose numbers overflow after one token: who meets that token ends, with a reason, and nobody else."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nld_trt.decode.batch import Batch
from nld_trt.decode.fill import Pass, PassSettings, fill
from nld_trt.decode.generate import generate
from nld_trt.decode.jsonl import run_lines
from nld_trt.decode.request import Request
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.session import execute
from nld_trt.errors import OperationError
from nld_trt.graph.contract import Limits
from nld_trt.measure.questions import Question
from nld_trt.measure.score import evaluate
from nld_trt.measure.variant import VARIANTS
from nld_trt.model.checkpoint import Checkpoint
from nld_trt.model.inventory import EMBEDDING
from nld_trt.names import NLD_MODES

NAME, POISON = "tiny-a", 7
LIMITS = Limits(max_batch_size=4, max_seq_len=256, max_block_length=16, prompt_chunk=8, max_quadratic_length=8)
PLAN = BuildPlan("ort", "fp32", LIMITS, adapter=True)
GOOD = (1, 73, 20)
BAD = (1, POISON, *range(20, 32))
# So long that the cache is not made anew between requests.
LONG = 40


@pytest.fixture(scope="module")
def poisoned(golden, tmp_path_factory):
    """An engine folder in which the embedding of one token is NaN. ``convert`` refuses such a checkpoint."""
    original = Checkpoint.read

    def read(self, name):
        values = np.array(original(self, name))
        if name == EMBEDDING:
            values[POISON] = np.nan
        return values

    target = tmp_path_factory.mktemp("poisoned") / NAME
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "read", read)
        build_engine(golden(NAME), [PLAN], target)
    return EngineFolder.open(target)


@pytest.fixture
def session(poisoned):
    return poisoned.open_session("ort")


def ask(prompt, mode="linear", **options):
    return Request(prompt, mode, max_new_tokens=LONG, block_length=8, threshold=0.0, eos_token_id=-1, **options)


def decode(session, requests):
    results = dict(generate(Batch(session), requests))
    return [results[index] for index in range(len(requests))]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("mode", NLD_MODES)
def test_only_the_row_with_the_token_ends(session, golden_session, mode, temperature):
    good = ask(GOOD, mode, temperature=temperature, seed=5)
    expected = decode(golden_session(NAME), [good])[0]
    assert POISON not in expected.output_ids
    first, second, third = decode(session, [good, ask(BAD, mode, temperature=temperature), good])
    assert (second.finish_reason, second.output_ids) == ("error", [])
    assert "not finite in a prefill pass at position 13" in second.error
    assert "another --precision" in second.error
    assert first.output_ids == third.output_ids == expected.output_ids


@pytest.mark.parametrize("others", [0, 1, 3])
def test_who_comes_into_the_row_next_is_unharmed(session, golden_session, others):
    """Attention multiplies what its mask hides by 0, and 0 times NaN is NaN."""
    expected = decode(golden_session(NAME), [ask(GOOD)])[0].output_ids
    batch = Batch(session)
    rows = [batch.submit(ask(GOOD)) for _ in range(others)]
    doomed = batch.submit(ask(BAD))
    while doomed.finish_reason is None:
        batch.step()
    rows += [batch.submit(ask(GOOD)) for _ in range(4)]
    list(batch.run())
    assert [row.emitted for row in rows] == [expected] * len(rows)


def test_a_row_that_is_cancelled_in_the_middle_of_such_a_prompt_leaves_nothing(session, golden_session):
    batch = Batch(session)
    row = batch.submit(ask(BAD))
    batch.step()
    assert row.in_prefill
    batch.cancel(row)
    list(batch.run())
    assert decode(session, [ask(GOOD)])[0].output_ids == decode(golden_session(NAME), [ask(GOOD)])[0].output_ids


def test_all_rows_may_end_so(session, golden_session):
    assert {result.finish_reason for result in decode(session, [ask(BAD)] * 6)} == {"error"}
    assert decode(session, [ask(GOOD)])[0].output_ids == decode(golden_session(NAME), [ask(GOOD)])[0].output_ids


class OverflowLater:
    """A session that reports one forward's first row as not finite."""

    def __init__(self, session, forward):
        self._session, self._left = session, forward

    def __getattr__(self, name):
        return getattr(self._session, name)

    def launch(self, buffers):
        self._session.launch(buffers)
        self._left -= 1
        if self._left == 0:
            buffers.outputs["finite"][0] = 0


def test_a_row_that_ends_while_its_next_forward_overflows_leaves_nothing(golden_session):
    """The host learns of the end first, and of the overflow when the row is no one's any more."""

    class Ahead(OverflowLater):
        runs_ahead = True

        def launch(self, buffers):
            written = buffers.inputs["cache_length"][0]
            super().launch(buffers)
            if self._left == 0:
                for cache in self._session._caches.values():
                    cache[0, :, written] = np.nan

    session = Ahead(golden_session(NAME), 12)
    batch = Batch(session)
    row = batch.submit(ask(GOOD, "ar"))
    while session._left:
        batch.step()
    assert row.finish_reason is None
    batch.cancel(row)
    list(batch.run())
    assert decode(session, [ask(GOOD)])[0].output_ids == decode(golden_session(NAME), [ask(GOOD)])[0].output_ids


def test_the_engine_does_not_go_on_from_such_logits(session):
    session.reserve(1, 8)
    buffers = fill(session, [Pass((POISON,), tokens_left=5, settings=PassSettings(program="linear"))])
    execute(session, buffers)
    assert buffers.outputs["finite"].tolist() == [0]
    assert buffers.outputs["next_tokens"].tolist() == [[POISON]]
    assert buffers.outputs["next_cache_length"].tolist() == [0]
    assert buffers.outputs["next_tokens_left"].tolist() == [0]


@pytest.mark.parametrize(
    ("mode", "kind", "position"), [("ar", "token", 4), ("linear", "draft", 3), ("diffusion", "denoise", 3)]
)
def test_the_message_names_the_pass_and_what_came_before_stays(golden_session, mode, kind, position):
    """The third forward of a request, the first of which is its prefill; ar feeds a token at a time."""
    forward = 3 if mode == "ar" else 2
    (result,) = decode(OverflowLater(golden_session(NAME), forward), [ask(GOOD, mode)])
    assert f"in a {kind} pass at position {position}:" in result.error
    assert result.output_ids == decode(golden_session(NAME), [ask(GOOD, mode)])[0].output_ids[: len(result.output_ids)]
    assert len(result.output_ids) == {"ar": 2, "linear": 1, "diffusion": 0}[mode]


def test_logits_in_the_middle_of_a_prompt_do_not_matter(session, golden_session):
    prompt = tuple(range(20, 40))
    result = decode(OverflowLater(session, 1), [ask(prompt)])[0]
    assert result.forwards["prefill"] == 3
    assert result.output_ids == decode(golden_session(NAME), [ask(prompt)])[0].output_ids


def test_a_line_has_the_error_and_the_others_their_answers(session):
    lines = [
        json.dumps({"id": name, "prompt_ids": ids, "max_new_tokens": 4}) for name, ids in (("bad", BAD), ("good", GOOD))
    ]
    bad, good = run_lines(lines, Batch(session))
    assert (bad["id"], bad["finish_reason"], bad["output_ids"]) == ("bad", "error", [])
    assert "not finite" in bad["error"]
    assert "error" not in good


def test_evaluation_names_the_prompt_and_the_mode_of_such_an_answer(session):
    questions = [Question("seven", GOOD, None, None), Question("eight", BAD, None, None)]
    with pytest.raises(OperationError, match=r"prompt eight in mode linear-no-lora failed: .*not finite"):
        evaluate(Batch(session), questions, VARIANTS["linear-no-lora"], max_new_tokens=4, batch_size=2)

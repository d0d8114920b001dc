# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Tens of thousands of sampled answers, counted, against the exact probabilities of autoregressive decoding."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from nld_trt.decode.batch import Batch
from nld_trt.decode.fill import Pass, fill
from nld_trt.decode.generate import generate
from nld_trt.decode.modes import MODE_TYPES, LinearSpeculation
from nld_trt.decode.request import Request
from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.session import execute
from nld_trt.graph.contract import Limits
from nld_trt.measure.kernels import reference
from tests.chi_square import chi_square

# After this prompt even three tokens in a row are spread over hundreds of answers.
NAME, PROMPT = "tiny-a", (1, 138, 176, 194, 237, 193)
ANSWERS, TOKENS, BLOCK = 20_480, 3, 4
# (mode, acceptance rule).
DECODERS = (
    ("linear", "reject"),
    *(
        pytest.param(*each, marks=pytest.mark.slow)
        for each in (("ar", None), ("linear", "match"), ("quadratic", "match"))
    ),
)
TEMPERATURES = (pytest.param(0.5, marks=pytest.mark.slow), 1.0, pytest.param(1.5, marks=pytest.mark.slow))
FILTERS = (
    pytest.param({}, id="unfiltered"),
    pytest.param({"top_k": 40, "top_p": 0.9, "min_p": 0.02}, id="filtered", marks=pytest.mark.slow),
)
# Answers less frequent than this are one class.
RARE = 8 / ANSWERS


@pytest.fixture(scope="module")
def session(golden, tmp_path_factory):
    """Many rows, and logits among the outputs."""
    limits = Limits(
        max_batch_size=256, max_seq_len=48, max_block_length=BLOCK, prompt_chunk=16, max_quadratic_length=BLOCK
    )
    target = tmp_path_factory.mktemp("wide") / NAME
    build_engine(
        golden(NAME), [BuildPlan("ort", "fp32", limits, adapter=True, debug=True)], target, force=False,
    )  # fmt: skip
    return EngineFolder.open(target).open_session("ort")


def answers(session, mode, acceptance, settings):
    """How often each answer came; every request has a seed of its own."""
    requests = [
        Request(
            PROMPT, mode, max_new_tokens=TOKENS, block_length=BLOCK, threshold=0.0, eos_token_id=-1,
            seed=number * 0x9E3779B97F4A7C15 % 2**63, acceptance=acceptance, **settings,
        )
        for number in range(ANSWERS)
    ]  # fmt: skip
    found = Counter(tuple(result.output_ids) for _, result in generate(Batch(session), requests))
    assert found.total() == ANSWERS
    return found


@pytest.fixture(scope="module")
def counted(session):
    """:func:`answers`, each only once."""
    made = {}

    def count(mode, acceptance, settings):
        key = (mode, acceptance, *settings.items())
        if key not in made:
            made[key] = answers(session, mode, acceptance, settings)
        return made[key]

    return count


def next_probabilities(session, prefixes, settings):
    """[prefixes, V] float64: what follows prefixes of one length."""
    logits = []
    mask, rows = session.info.config.mask_token_id, session.info.limits.max_batch_size
    for first in range(0, len(prefixes), rows):
        passes = [Pass(tokens, wanted=(len(tokens) - 1,)) for tokens in prefixes[first : first + rows]]
        session.reserve(len(passes), session.info.limits.capacity)
        step = fill(session, passes)
        execute(session, step)
        logits.append(step.outputs["logits"][:, 0].astype(np.float64))
    return np.array([reference.distribution(row, mask, **settings) for row in np.concatenate(logits)])


def exact_answers(session, settings):
    """Of each number of tokens, the answers that are not rare, with their probabilities."""
    frequent, levels = {(): 1.0}, []
    for _ in range(TOKENS):
        following = next_probabilities(session, [PROMPT + answer for answer in frequent], settings)
        shares = {
            (*answer, int(token)): share * row[token]
            for (answer, share), row in zip(frequent.items(), following, strict=True)
            for token in np.flatnonzero(share * row >= RARE)
        }
        levels.append(shares)
        frequent = shares
    return levels


def misfit(found, levels):
    """Largest chi-square statistic over its limit, over answers cut to one token, to two and so on.

    What comes out of every level is what a joint count shows: a token, a pair and a triple.
    """
    ratios = []
    for length, shares in enumerate(levels, start=1):
        cut = Counter()
        for answer, count in found.items():
            cut[answer[:length]] += count
        counts = [cut.pop(answer, 0) for answer in shares]
        # What probabilities that add up to 1 leave is a rounding error of their sum, and no probability.
        left = 1.0 - sum(shares.values())
        expected = [*shares.values(), left if left > 1e-9 else 0.0]
        statistic, limit = chi_square(np.array([*counts, cut.total()]), np.array(expected))
        ratios.append(statistic / limit)
    return max(ratios)


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize(("mode", "acceptance"), DECODERS)
def test_answers_have_the_exact_distribution(session, counted, mode, acceptance, temperature, filters):
    settings = {"temperature": temperature, **filters}
    found = counted(mode, acceptance, settings)
    assert misfit(found, exact_answers(session, settings)) < 1


class Unverified(LinearSpeculation):
    """Takes every drafted token."""

    def committed(self, part, outcome):
        return [*part.tokens[1:], outcome.verified_tokens[-1]]


@pytest.mark.slow
def test_a_draft_that_is_not_verified_is_found_out(session, monkeypatch):
    monkeypatch.setitem(MODE_TYPES, "linear", Unverified)
    settings = {"temperature": 1.0}
    found = answers(session, "linear", "match", settings)
    assert misfit(found, exact_answers(session, settings)) > 1


@pytest.mark.slow
def test_another_temperature_and_a_filter_that_is_not_there_are_found_out(session, counted):
    found = counted("linear", "match", {"temperature": 1.0})
    assert misfit(found, exact_answers(session, {"temperature": 1.1})) > 1
    with pytest.raises(AssertionError, match="a token was drawn that has no probability"):
        misfit(found, exact_answers(session, {"temperature": 1.0, "top_k": 20}))

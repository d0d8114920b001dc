# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Self-speculation changes the speed of nld-tiny and never its text."""

from __future__ import annotations

import dataclasses
import json
import random
from functools import partial

import pytest

from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request
from nld_trt.decode.result import Result
from nld_trt.model.text.codec import Codec
from tests.near_ties import Text, assert_same_texts, next_logits

# The first of them are for the quick tests.
CASES, QUICK_CASES = 208, 40


@pytest.fixture(scope="module")
def session(golden_session):
    return golden_session("nld-tiny")


@pytest.fixture(scope="module")
def requests(root, engine):
    """Linear requests over block length, threshold, adapter, prompt kind and length, EOS and limit."""
    rng = random.Random(7)
    folder = engine("nld-tiny").path
    codec = Codec.open(folder)
    lines = (root / "examples" / "nld-tiny" / "eval.jsonl").read_text(encoding="utf-8").splitlines()
    held_out = [codec.encode_prompt(json.loads(line)["prompt"]) for line in lines]

    def prompt():
        kind = rng.random()
        ids = rng.choice(held_out)
        if kind < 0.5:
            return ids
        if kind < 0.75:  # cut anywhere: the model goes on in the middle of a question
            return ids[: rng.randint(1, len(ids))]
        return tuple(rng.randrange(16, 400) for _ in range(rng.randint(1, 150)))

    return [
        Request(
            prompt(),
            mode="linear",
            lora=rng.random() < 0.5,
            max_new_tokens=rng.randint(1, 90),
            block_length=rng.choice([1, 2, 5, 8, 16, 31, 32]),
            threshold=rng.choice([0.0, 0.0, 0.5, 0.9]),
            # The real end, never, or a frequent token: the end then falls anywhere in a round.
            eos_token_id=rng.choice([None, -1, rng.randrange(16, 400), codec.encode(" ")[0]]),
        )
        for _ in range(CASES)
    ]


def decode(session, requests, rows) -> list[Result]:
    results = dict(generate(Batch(session, max_rows=rows), requests))
    return [results[index] for index in range(len(requests))]


def texts(results) -> list[Text]:
    return [(result.output_ids, result.finish_reason) for result in results]


@pytest.mark.parametrize("cases", [QUICK_CASES, pytest.param(CASES, marks=pytest.mark.slow)])
def test_linear_equals_ar_on_random_prompts(session, debug_session, requests, cases):
    speculative = requests[:cases]
    plain = [dataclasses.replace(request, mode="ar", lora=False, threshold=None) for request in speculative]
    found, expected = decode(session, speculative, rows=7), decode(session, plain, rows=1)
    logits = partial(next_logits, debug_session("nld-tiny"))
    prompts = [request.prompt_ids for request in speculative]
    assert_same_texts(texts(found), texts(expected), prompts, logits, closer_than=1e-3)
    # It means something only if there are many tokens, of drafts that were accepted and of drafts that were not.
    accepted = [count for result in found for count in result.accepted]
    assert sum(len(result.output_ids) for result in found) > 25 * cases
    assert 1 in accepted
    assert max(accepted) > 16

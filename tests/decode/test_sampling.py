# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Requests at temperature: whole decodings against a slow reference, and what may not change a result."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request
from nld_trt.decode.sampling import fresh_seed
from nld_trt.measure.kernels import reference
from nld_trt.model.text.codec import Codec
from tests.decode.chunks import without_chunks
from tests.golden_cases import golden_prompts
from tests.graph.passes import run_pass

NAMES = ("tiny-a", "tiny-b")
TEMPERATURES = (0.3, 0.7, 1.3)
FILTERS = ({}, {"top_k": 5}, {"top_p": 0.8}, {"min_p": 0.1}, {"top_k": 20, "top_p": 0.95, "min_p": 0.02})


@pytest.fixture(scope="module")
def prompts(goldens):
    def of(name):
        return golden_prompts(goldens, name)

    return of


def decode(session, requests, **options):
    results = dict(generate(Batch(session, **options), requests))
    return [results[index] for index in range(len(requests))]


def warm(request):
    """The request's own settings."""
    values = {name: getattr(request, name) for name in ("temperature", "top_k", "top_p", "min_p", "seed")}
    return {name: value for name, value in values.items() if value is not None}


def last_logits(session, ids):
    """Behind the last of ``ids``, which are then in the cache."""
    return run_pass(session, ids, cache_length=0, causal=True, adapter=False)["logits"][0, -1]


def reference_ar(session, request):
    mask, ids = session.info.config.mask_token_id, list(request.prompt_ids)
    for _ in range(request.max_new_tokens):
        ids.append(reference.sample(last_logits(session, ids), mask, position=len(ids), **warm(request)))
    return ids[len(request.prompt_ids) :]


def reference_diffusion(session, request):
    """Model-spec 3.3 with this project's noise; no end token."""
    mask, ids = session.info.config.mask_token_id, list(request.prompt_ids)
    while len(ids) < len(request.prompt_ids) + request.max_new_tokens:
        seed = reference.sample(last_logits(session, ids), mask, position=len(ids), **warm(request))
        block = [seed] + [mask] * (request.block_length - 1)
        step = 0
        while mask in block:
            logits = run_pass(session, block, cache_length=len(ids), causal=False, adapter=False)["logits"][0]
            choices, confidence = {}, {}
            for slot in (slot for slot, token in enumerate(block) if token == mask):
                choice = reference.sample(logits[slot], mask, position=len(ids) + slot, sample=step, **warm(request))
                choices[slot], confidence[slot] = choice, reference.probabilities(logits[slot])[choice]
            best = max(confidence, key=confidence.get)
            for slot, token in choices.items():
                if slot == best or (request.threshold is not None and confidence[slot] >= request.threshold):
                    block[slot] = token
            step += 1
        ids += block
    return ids[len(request.prompt_ids) :][: request.max_new_tokens]


REFERENCES = {
    "ar": reference_ar,
    "linear": reference_ar,
    "quadratic": reference_ar,
    "diffusion": reference_diffusion,
}


@pytest.mark.parametrize("mode", REFERENCES)
@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_those_of_a_decoder_that_follows_the_definition(debug_session, golden_session, prompts, name, mode):
    rng = random.Random(f"{name} {mode}")
    requests = [
        Request(
            rng.choice(prompts(name)), mode=mode, max_new_tokens=12, block_length=rng.choice([3, 4, 6]),
            threshold=rng.choice([0.0, 0.3]) if mode == "linear" else rng.choice([None, 0.4]), eos_token_id=-1,
            temperature=rng.choice(TEMPERATURES), seed=rng.randrange(2**63), acceptance="match",
            **({} if mode == "diffusion" else rng.choice(FILTERS)),
        )
        for _ in range(8)
    ]  # fmt: skip
    results = decode(golden_session(name), requests)
    resolved = [request.resolved(golden_session(name).info) for request in requests]
    expected = [REFERENCES[mode](debug_session(name), request) for request in resolved]
    assert [result.output_ids for result in results] == expected


@pytest.fixture(scope="module")
def warm_requests(root, engine):
    """Linear requests on nld-tiny over everything that can be chosen."""
    rng = random.Random(21)
    codec = Codec.open(engine("nld-tiny").path)
    lines = (root / "examples" / "nld-tiny" / "eval.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [codec.encode_prompt(json.loads(line)["prompt"]) for line in lines]
    return [
        Request(
            rng.choice(texts), mode="linear", lora=rng.random() < 0.5, max_new_tokens=rng.randint(1, 40),
            block_length=rng.choice([1, 2, 5, 8, 16, 31, 32]), threshold=rng.choice([0.0, 0.0, 0.5, 0.9]),
            eos_token_id=rng.choice([None, -1]), temperature=rng.choice([0.0, 0.3, 0.7, 1.0, 1.5]),
            seed=rng.randrange(2**63), acceptance="match", **rng.choice(FILTERS),
        )
        for _ in range(80)
    ]  # fmt: skip


def test_linear_equals_ar_with_the_same_seed(golden_session, warm_requests):
    """At every temperature, alone and in a mixed batch: half of the autoregressive twins share the linear batch."""
    session = golden_session("nld-tiny")
    twins = [replace(request, mode="ar", lora=False, threshold=None) for request in warm_requests]
    together = decode(session, [each for pair in zip(warm_requests, twins, strict=True) for each in pair], max_rows=7)
    fast, slow = together[::2], together[1::2]
    assert [each.output_ids for each in fast] == [each.output_ids for each in slow]
    assert [each.finish_reason for each in fast] == [each.finish_reason for each in slow]
    alone = [decode(session, [request])[0] for request in warm_requests[:12]]
    assert [*map(without_chunks, alone)] == [*map(without_chunks, fast[:12])]
    accepted = [count for each in fast for count in each.accepted]
    assert 1 in accepted
    assert max(accepted) > 16


def test_a_seed_repeats_the_tokens_in_another_session(engine, prompts):
    requests = [
        Request(prompts("tiny-b")[0], mode=mode, max_new_tokens=30, eos_token_id=-1, temperature=1.0, seed=seed)
        for mode in ("ar", "linear", "diffusion")
        for seed in (0, 7, 2**63 - 1)
    ]
    first, second = (decode(engine("tiny-b").open_session("ort"), requests) for _ in range(2))
    assert first == second
    for mode in range(3):
        assert len({tuple(result.output_ids) for result in first[3 * mode : 3 * mode + 3]}) == 3


def test_a_seed_that_was_drawn_repeats_the_tokens(golden_session, prompts):
    request = Request(prompts("tiny-a")[0], mode="linear", max_new_tokens=40, eos_token_id=-1, temperature=1.0)
    session = golden_session("tiny-a")
    first, other = decode(session, [request, request])
    assert first.seed != other.seed
    assert first.output_ids != other.output_ids
    assert decode(session, [replace(request, seed=first.seed)])[0] == first


def test_a_seed_that_was_drawn_is_the_same_to_readers_that_have_no_whole_numbers():
    assert all(int(float(seed)) == seed for seed in (fresh_seed() for _ in range(200)))


def test_greedy_requests_report_no_seed(golden_session, prompts):
    (result,) = decode(golden_session("tiny-a"), [Request(prompts("tiny-a")[0], max_new_tokens=2, seed=5)])
    assert result.seed is None
    assert "seed" not in result.to_line(None)


def test_chunks_of_the_prompt_do_not_change_what_is_drawn(golden_session, prompts):
    session, longest = golden_session("tiny-b"), max(prompts("tiny-b"), key=len)
    request = Request(longest, mode="ar", max_new_tokens=9, eos_token_id=-1, temperature=1.0, seed=3)
    expected = decode(session, [request])[0]
    batch = Batch(session)
    row = batch.submit(request)
    original = row.next_pass
    row.next_pass = lambda chunk: original(5)
    list(batch.run())
    assert row.emitted == expected.output_ids
    assert row.counters.forwards["prefill"] > expected.forwards["prefill"]

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a request may ask of an engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nld_trt.decode.batch import Batch
from nld_trt.decode.generate import generate
from nld_trt.decode.request import Request, modes_of
from nld_trt.errors import InputError
from nld_trt.names import NLD_MODES

PROMPT = (1, 2, 3)

REFUSED = {
    "mode": (Request(PROMPT, mode="fast"), "'fast'.*ar, diffusion, linear"),
    "empty prompt": (Request(()), "prompt is empty"),
    "foreign token": (Request((1, 9999)), "9999"),
    "no tokens asked for": (Request(PROMPT, max_new_tokens=0), "max_new_tokens is 0"),
    "block of nothing": (Request(PROMPT, block_length=-1), "block_length is -1"),
    "block of zero": (Request(PROMPT, block_length=0), "block_length is 0"),
    "block over the profile in ar": (Request(PROMPT, mode="ar", block_length=65), "blocks up to 64"),
    "block over the profile": (Request(PROMPT, block_length=65), "blocks up to 64"),
    "prompt and tokens over the capacity": (Request(PROMPT * 100, max_new_tokens=300), "600.*built for 512"),
    "threshold": (Request(PROMPT, mode="diffusion", threshold=1.5), "threshold is 1.5"),
    "temperature below 0": (
        Request(PROMPT, temperature=-0.1),
        "temperature is -0.1; it must be from 0",
    ),
    "temperature that is no number": (Request(PROMPT, temperature=float("nan")), "temperature is nan"),
    "infinite temperature": (Request(PROMPT, temperature=float("inf")), "temperature is inf"),
    "top_k below 0": (Request(PROMPT, top_k=-1), "top_k is -1"),
    "top_k beyond the shortlist": (
        Request(PROMPT, top_k=257),
        "top_k is 257; it must be a whole number from 0.* to 256",
    ),
    "top_p of 0": (Request(PROMPT, top_p=0.0), "top_p is 0.0; it must be above 0"),
    "top_p above 1": (Request(PROMPT, top_p=1.01), "top_p is 1.01"),
    "top_p that is no number": (Request(PROMPT, top_p=float("nan")), "top_p is nan"),
    "min_p of 1": (Request(PROMPT, min_p=1.0), "min_p is 1.0; it must be below 1"),
    "min_p below 0": (Request(PROMPT, min_p=-0.1), "min_p is -0.1"),
    "seed below 0": (Request(PROMPT, seed=-1), "seed is -1"),
    "seed beyond 63 bits": (Request(PROMPT, seed=2**63), "seed is 9223372036854775808"),
    "acceptance": (Request(PROMPT, acceptance="always"), "acceptance is 'always'; supported: match, reject"),
    "top_k in diffusion": (Request(PROMPT, mode="diffusion", top_k=5), "top_k is 5; diffusion.*Leave top_k out"),
    "top_p in diffusion": (Request(PROMPT, mode="diffusion", top_p=0.9), "top_p is 0.9; diffusion"),
    "min_p in diffusion": (Request(PROMPT, mode="diffusion", min_p=0.1), "min_p is 0.1; diffusion"),
    "eos": (Request(PROMPT, eos_token_id=100000), "eos_token_id is 100000"),
    "eos is the mask": (Request(PROMPT, mode="diffusion", eos_token_id=100), "eos_token_id is 100, the mask"),
    "marker is the mask": (
        Request(PROMPT, mode="ar", max_thinking_tokens=3, end_think_token_id=100),
        "end_think_token_id is 100, the mask",
    ),
    "half a budget": (Request(PROMPT, mode="ar", max_thinking_tokens=3), "together"),
    "budget in linear": (Request(PROMPT, max_thinking_tokens=3, end_think_token_id=4), "linear"),
    "rejection of a draft of several passes": (
        Request(PROMPT, threshold=0.5, acceptance="reject"),
        "acceptance is 'reject' and threshold 0.5.*Use threshold 0",
    ),
    "rejection outside of linear": (Request(PROMPT, mode="ar", acceptance="reject"), "a rule of linear mode.*'ar'"),
    "budget in quadratic": (
        Request(PROMPT, mode="quadratic", max_thinking_tokens=3, end_think_token_id=4),
        "not supported in quadratic",
    ),
    "quadratic block over the profile": (
        Request(PROMPT, mode="quadratic", block_length=17),
        "block_length is 17.*up to 16 drafts.*build --quadratic-length 17",
    ),
    "ensemble above 1": (
        Request(PROMPT, mode="quadratic", ensemble=1.1),
        "ensemble is 1.1; it must be between 0 and 1",
    ),
    "ensemble below 0": (Request(PROMPT, mode="quadratic", ensemble=-0.5), "ensemble is -0.5"),
    "ensemble that is no number": (Request(PROMPT, mode="quadratic", ensemble=float("nan")), "ensemble is nan"),
    "ensemble outside of quadratic": (Request(PROMPT, ensemble=0.5), "ensemble is 0.5; only quadratic"),
    "empty stop string": (Request(PROMPT, stop=("",)), "stop string"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusal_names_the_field_and_its_value(golden_session, case):
    request, message = REFUSED[case]
    with pytest.raises(InputError, match=f"(?s){message}"):
        request.resolved(golden_session("tiny-a").info)


def test_quadratic_is_refused_by_an_engine_without_it(golden_session):
    info = golden_session("tiny-a").info
    without = replace(info, limits=replace(info.limits, max_quadratic_length=0))
    with pytest.raises(InputError, match=r"(?s)built without quadratic passes.*--quadratic-length"):
        Request(PROMPT, mode="quadratic").resolved(without)
    assert modes_of(without) == ("ar", "diffusion", "linear")
    assert modes_of(info) == NLD_MODES


def test_an_ensemble_is_refused_by_an_engine_that_cannot_mix(golden_session):
    info = replace(golden_session("tiny-a").info, has_ensemble=False)
    with pytest.raises(InputError, match=r"(?s)cannot verify with an ensemble.*--no-plugins"):
        Request(PROMPT, mode="quadratic", ensemble=0.5).resolved(info)


@pytest.mark.parametrize(
    ("mode", "threshold", "rule"), [("linear", 0.0, "reject"), ("linear", 0.5, "match"), ("quadratic", None, "match")]
)
def test_drafts_are_rejected_where_that_can_be_done(golden_session, mode, threshold, rule):
    request = Request(PROMPT, mode, threshold=threshold, temperature=1.0).resolved(golden_session("tiny-a").info)
    assert request.acceptance == rule


def test_defaults_come_from_the_engine(golden_session):
    info = golden_session("tiny-b").info
    request = Request(PROMPT, max_new_tokens=8).resolved(info)
    assert (request.block_length, request.eos_token_ids, request.lora) == (16, (11,), True)


def test_a_resolved_request_stays_as_it_is(golden_session):
    """Also its seed, which was drawn where the request was resolved."""
    batch = Batch(golden_session("tiny-a"))
    once = batch.resolved(Request(PROMPT, max_new_tokens=8, eos_token_id=-1, temperature=1.0))
    assert batch.resolved(once) is once
    assert batch.submit(once).request is once


def test_every_value_of_a_resolved_request_is_filled_in(golden_session):
    resolved = Request(PROMPT, temperature=1.0).resolved(golden_session("tiny-a").info)
    empty = {name for name, value in vars(resolved).items() if value is None}
    assert empty == {"threshold", "steps", "max_thinking_tokens", "end_think_token_id"}


def test_a_seed_is_drawn_where_one_is_needed_and_none_was_given(golden_session):
    info = golden_session("tiny-a").info
    seeds = {Request(PROMPT, temperature=0.5).resolved(info).seed for _ in range(20)}
    assert len(seeds) == 20
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert Request(PROMPT, temperature=0.5, seed=0).resolved(info).seed == 0
    assert Request(PROMPT).resolved(info).seed is None


def test_the_smallest_probability_keeps_the_most_likely_token(golden_session):
    """In float32 it would be 0, which no token is needed to reach."""
    session = golden_session("tiny-a")
    tiny = Request((1, 5), mode="ar", max_new_tokens=8, eos_token_id=-1, temperature=1.0, top_p=5e-324, seed=1)
    plain = Request((1, 5), mode="ar", max_new_tokens=8, eos_token_id=-1)
    (_, narrow), (_, greedy) = (next(generate(Batch(session), [request])) for request in (tiny, plain))
    assert narrow.output_ids == greedy.output_ids

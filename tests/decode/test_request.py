# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a request may ask of an engine."""

from __future__ import annotations

import pytest

from nld_trt.decode.request import Request
from nld_trt.errors import InputError

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
    "temperature": (Request(PROMPT, temperature=0.7), "temperature is 0.7"),
    "eos": (Request(PROMPT, eos_token_id=100000), "eos_token_id is 100000"),
    "eos is the mask": (Request(PROMPT, mode="diffusion", eos_token_id=100), "eos_token_id is 100, the mask"),
    "marker is the mask": (
        Request(PROMPT, mode="ar", max_thinking_tokens=3, end_think_token_id=100),
        "end_think_token_id is 100, the mask",
    ),
    "half a budget": (Request(PROMPT, mode="ar", max_thinking_tokens=3), "together"),
    "budget in linear": (Request(PROMPT, max_thinking_tokens=3, end_think_token_id=4), "linear"),
    "empty stop string": (Request(PROMPT, stop=("",)), "stop string"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusal_names_the_field_and_its_value(golden_session, case):
    request, message = REFUSED[case]
    with pytest.raises(InputError, match=f"(?s){message}"):
        request.resolved(golden_session("tiny-a").info)


def test_defaults_come_from_the_engine(golden_session):
    info = golden_session("tiny-b").info
    request = Request(PROMPT, max_new_tokens=8).resolved(info)
    assert (request.block_length, request.eos_token_id, request.lora) == (16, 11, True)


def test_resolving_twice_changes_nothing(golden_session):
    info = golden_session("tiny-a").info
    once = Request(PROMPT, max_new_tokens=8, eos_token_id=-1).resolved(info)
    assert once.resolved(info) == once

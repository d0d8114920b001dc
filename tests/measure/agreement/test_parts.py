# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The parts of the comparison: how servers are asked, where prompts end, how tokens are found and scored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nld_trt.errors import InputError, OperationError
from nld_trt.measure.agreement.probes import probes, ranges
from nld_trt.measure.agreement.scorer import Scorer, ids_of
from nld_trt.measure.agreement.server import OpenAIServer
from nld_trt.model import rotary
from tests.near_ties import next_logits

ANSWER = {"choices": [{"text": "a", "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}


def taking(*accepted: str):
    """Answers completions whose prompt and fields are among ``accepted``."""

    def respond(path, body):
        given = {"ids" if isinstance(body["prompt"], list) else "text", *({"logprobs"} & body.keys())}
        return (200, ANSWER) if given <= set(accepted) else (422, {"detail": f"no {given}"})

    return respond


@pytest.mark.parametrize(
    ("accepted", "form"),
    [(("ids", "text", "logprobs"), (True, True)), (("ids",), (True, False)), (("text", "logprobs"), (False, True)),
     (("text",), (False, False))],
)  # fmt: skip
def test_the_form_that_says_most_is_used(serve, accepted, form) -> None:
    server = OpenAIServer(serve(taking(*accepted)), model="m", timeout=10)
    for _ in range(2):
        assert server.complete("abc", [1, 2, 3], 4).text == "a"
        assert (server.form.ids, server.form.logprobs) == form


FAULTS = {
    "no form": (lambda path, body: (400, {"error": {"message": "broken"}}), "takes no prompt"),
    "failure": (lambda path, body: (500, "out of order"), "status 500: out of order"),
    "no JSON": (lambda path, body: (200, "<html>"), "something other than JSON"),
    "no object": (lambda path, body: (200, [1]), "no object"),
    "no choices": (lambda path, body: (200, {"choices": []}), "no choices"),
    "no text": (lambda path, body: (200, {"choices": [{"text": 5}]}), "no text"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_server_that_does_not_answer_is_an_error(serve, case) -> None:
    respond, message = FAULTS[case]
    with pytest.raises(OperationError, match=message):
        OpenAIServer(serve(respond), model="m", timeout=10).complete("abc", [1], 4)


def test_address_and_model_are_checked(serve) -> None:
    for url in ("localhost:8000", "ftp://localhost"):
        with pytest.raises(InputError, match="not the address of an HTTP server"):
            OpenAIServer(url, timeout=10)
    with pytest.raises(OperationError, match="does not answer"):
        OpenAIServer("http://127.0.0.1:9", timeout=10)
    with pytest.raises(InputError, match="--model"):
        OpenAIServer(serve(lambda path, body: (500, "x")), timeout=10)
    assert OpenAIServer(serve(lambda path, body: (200, {"data": [{"id": "x"}]})) + "/v1/", timeout=10).model == "x"


def test_ranges_are_those_that_fit(golden) -> None:
    config = golden("nld-tiny").config
    names = {length: [each.name for each in ranges(config, length, 32)] for length in (256, 512, 1024, 2048, 4096)}
    assert names == {
        256: ["short"],
        512: ["short", "the engine's end"],
        1024: ["short", "before 1,024"],
        2048: ["short", "before 1,024", "from 1,024 on", "the engine's end"],
        4096: ["short", "before 1,024", "from 1,024 on", "from 2,048 on"],
    }


def test_prompts_end_in_their_range_and_are_the_same_in_every_run(golden, codec) -> None:
    for each in ranges(golden("nld-tiny").config, 4096, 32)[1:]:
        found = probes(codec, each, 2)
        assert found == probes(codec, each, 2)
        assert found[0].text != found[1].text
        for probe in found:
            assert each.length is not None
            assert len(probe.ids) <= each.length
            # The range from N on begins at N.
            assert len(probe.ids) >= each.length - 4 * 64


def test_text_is_spelled_as_the_engine_spells_it(codec) -> None:
    own = [token for letter in "The answer" for token in codec.encode_part(letter)]
    assert ids_of(codec, "The answer", own) == tuple(own)
    assert codec.decode(ids_of(codec, "The ants", own)) == "The ants"
    assert ids_of(codec, "The ants", own)[:6] == tuple(own[:6])
    assert ids_of(codec, "", own) == ()
    assert ids_of(codec, "é", []) == codec.encode_part("é")


def test_scores_are_those_of_the_logits(engine, codec) -> None:
    session = engine("nld-tiny").open_session("ort", debug=True)
    prompt, answer = codec.encode_prompt("Convert 37 km to m."), codec.encode_part("1 km is")
    found = Scorer(session).score(prompt, answer, stopped=False)
    for place, token in enumerate(answer):
        logits = next_logits(session, [*prompt, *answer[:place]]).astype(np.float64)
        logits[session.info.config.mask_token_id] = -np.inf
        assert found.best[place] == logits.argmax()
        assert found.margins[place] == pytest.approx(logits.max() - logits[token], abs=1e-3)
        expected = logits[token] - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
        assert found.logprobs[place] == pytest.approx(expected, abs=1e-3)
    assert Scorer(session).score(prompt, (), stopped=False).margins == ()


def test_end_of_an_answer_is_any_token_that_ends_one(engine, codec) -> None:
    session = engine("nld-tiny").open_session("ort", debug=True)
    scorer = Scorer(session)
    prompt = codec.encode_prompt("Convert 37 km to m.")
    own = scorer.answer(prompt, 80, codec)
    assert own.finish_reason == "stop"
    assert scorer.score(prompt, own.output_ids, stopped=True).margins[-1] == 0


def test_magnitude_is_one_but_where_mscale_is_not_read(golden) -> None:
    rope = golden("nld-tiny").config.rope
    assert rotary.magnitude(rope) == 1.0
    assert rotary.magnitude(replace(rope, mscale_all_dim=0.0)) == pytest.approx(1.2772588722)
    assert rotary.magnitude(replace(rope, mscale_all_dim=0.0, factor=0.25)) == 1.0

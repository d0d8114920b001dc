# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""A server with a right network agrees, and one that misses a fact of the model is found out by name."""

from __future__ import annotations

import pytest

from nld_trt.engine.backend import BuildPlan
from nld_trt.engine.build import build_engine
from nld_trt.engine.folder import EngineFolder
from nld_trt.errors import InputError
from nld_trt.graph.contract import Limits
from nld_trt.measure.agreement.agreement import Agreement, Examination, Settings
from nld_trt.measure.agreement.hypotheses import Hypothesis, check_same_model, hypotheses, network
from nld_trt.measure.agreement.server import OpenAIServer
from tests.measure.agreement.conftest import Peer

FEW = Settings(samples=1, max_tokens=6)


@pytest.fixture(scope="module")
def session(engine):
    return engine("nld-tiny").open_session("ort", debug=True)


@pytest.fixture
def peer(session, codec):
    return lambda **faults: Peer(session, codec, **faults)


@pytest.fixture
def examine(engine, serve):
    def run(peer: Peer, settings: Settings = FEW, **options) -> Agreement:
        server = OpenAIServer(serve(peer), timeout=60)
        return Examination(server, engine("nld-tiny"), settings).run(**options)

    return run


@pytest.mark.parametrize("takes", [("ids", "text", "logprobs"), ("text",), ()], ids=["all", "text", "chat alone"])
def test_server_with_the_same_network_agrees(peer, examine, takes) -> None:
    found = examine(peer(takes=takes))
    assert found.agrees, found
    assert [row.differing for row in found.rows] == [0] * len(found.rows)
    assert [row.name for row in found.rows] == (["short", "the engine's end"] if takes else []) + ["chat"]
    for row in found.rows[:-1]:
        assert (row.logprob_error is not None) == ("logprobs" in takes)
        assert (row.logprob_error or 0.0) < 1e-3
    # The engine of this test ends before the query scale changes, and that is said.
    assert "from position 1,024 on" in found.notes[-1]


def test_server_without_the_end_of_answers_is_named(peer, examine) -> None:
    found = examine(peer(ends=False), Settings(samples=1, max_tokens=64))
    assert found.facts[0].startswith(
        "EOS set: the server goes on where an answer ends; the model ends it with <|im_end|>"
    )


def test_server_that_puts_a_token_before_texts_is_named(peer, examine) -> None:
    found = examine(peer(takes=("text",), bos=True))
    assert found.facts[0].startswith("BOS or tokenizer: ")


def test_server_with_another_template_is_named(peer, examine) -> None:
    found = examine(peer(thinks=True))
    assert found.facts[0].startswith("chat template: ")
    assert all(row.differing == 0 for row in found.rows[:-1])


def test_server_whose_answers_are_empty_does_not_agree(engine, serve) -> None:
    def respond(path, body):
        return 200, {"choices": [{"text": "", "message": {"content": None}, "finish_reason": "length"}]}

    server = OpenAIServer(serve(respond), model="m", timeout=60)
    found = Examination(server, engine("nld-tiny"), FEW).run()
    assert found.facts[0] == "answers: 1 of the range short have no text and no end"


def wrong(golden, ending: str) -> Hypothesis:
    (found,) = (each for each in hypotheses(golden("nld-tiny").config.rope) if each.name.endswith(ending))
    return found


SLOW = [
    pytest.param(ending, marks=pytest.mark.slow)
    for ending in ("magnitude on cos and sin", "neighbouring elements", "heads stored as pairs")
]


@pytest.mark.parametrize("ending", ["no YaRN", *SLOW])
def test_wrong_positions_are_found(engine, golden, codec, examine, ending) -> None:
    with network(wrong(golden, ending), golden("nld-tiny"), engine("nld-tiny")) as session:
        found = examine(Peer(session, codec), Settings(samples=3, max_tokens=4))
    assert found.facts[0].startswith("weights or positions: answers differ from the first positions on")
    assert found.rows[0].differing > 0


@pytest.mark.slow
def test_wrong_rotary_frequencies_are_explained(engine, golden, codec, examine) -> None:
    folder, checkpoint = engine("nld-tiny"), golden("nld-tiny")
    with network(wrong(golden, "no YaRN"), checkpoint, folder) as session:
        found = examine(Peer(session, codec), Settings(samples=8, max_tokens=12), checkpoint=checkpoint)
    assert found.facts[0].startswith("weights or positions: answers differ from the first positions on")
    # Short texts do not tell this fault from the one that has no query scale as well, which has no effect here.
    # The server tells log-probabilities, by which the faults are ranked.
    assert "explained best by: plain rotary frequencies, no YaRN" in found.facts[-1]
    assert {each.name for each in found.explanations} >= {"the model as it is", "rotation of neighbouring elements"}
    best, *_, worst = found.explanations
    assert best.agreement == 1.0
    assert worst.agreement < 0.9


@pytest.mark.slow
def test_missing_query_scale_is_found_by_log_probabilities(golden, codec, serve, tmp_path) -> None:
    """No choice of so small a network changes by it."""
    checkpoint = golden("nld-tiny")
    limits = Limits(max_batch_size=1, max_seq_len=1300, max_block_length=32, prompt_chunk=256)
    build_engine(checkpoint, [BuildPlan("ort", "fp32", limits, adapter=False)], tmp_path / "engine")
    folder = EngineFolder.open(tmp_path / "engine")
    (fault,) = (each for each in hypotheses(checkpoint.config.rope) if each.name == "no query scale")
    with network(fault, checkpoint, folder) as session:
        server = OpenAIServer(serve(Peer(session, codec)), timeout=60)
        found = Examination(server, folder, Settings(samples=8, max_tokens=6)).run(checkpoint=checkpoint)
    assert [row.differing for row in found.rows] == [0, 0, 0, 0]
    assert found.facts[0].startswith("positions: answers differ from 1,2")
    assert found.facts[1].startswith("explained best by: no query scale (log-probabilities to 0.00 nats")


def test_no_hypothesis_is_the_model_itself(golden) -> None:
    rope = golden("nld-tiny").config.rope
    listed = [each.name for each in hypotheses(rope)]
    assert "rope_theta 10000" not in listed
    assert "rope_theta 1e+06" in listed


def test_checkpoint_of_another_model_is_refused(engine, golden) -> None:
    with pytest.raises(InputError, match="is not that of the engine"):
        check_same_model(golden("tiny-a"), engine("nld-tiny"))


@pytest.mark.parametrize("settings", [{"samples": 0}, {"max_tokens": 0}, {"tie": -1.0}, {"tie": float("nan")}], ids=str)
def test_settings_that_cannot_be_used_are_refused(settings) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        Settings(**settings).check()

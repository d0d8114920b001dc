# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Which responses a client gets for a request's emissions."""

from __future__ import annotations

from typing import Any

import pytest

from nld_trt.decode.batch import Batch
from nld_trt.decode.request import Request
from nld_trt.decode.row import Emission
from nld_trt.errors import OperationError
from nld_trt.model.text.codec import Codec
from nld_trt.serving.triton.intake import Intake
from nld_trt.serving.triton.replies import Reply


class Channel:
    def __init__(self) -> None:
        self.sent: list[tuple[dict[str, Any], bool]] = []
        self.errors: list[OperationError] = []

    def send(self, outputs, *, final: bool) -> None:
        self.sent.append((dict(outputs), final))

    def fail(self, error) -> None:
        self.errors.append(error)

    def is_cancelled(self) -> bool:
        return False


class AtOnce:
    """Has every reply sent when it is ready."""

    def put(self, sender, *, last: bool = False) -> None:
        sender.send_ready()


@pytest.fixture(scope="module")
def session(served_engine):
    return served_engine.open_session("ort")


@pytest.fixture
def answer(served_engine, session):
    tokenizer = Codec.open(served_engine.path)

    def answer(
        *, codec: Any = tokenizer, cancel_after: int | None = None, temperature: float = 0.0, seed: int | None = None,
        **intake: Any,
    ):  # fmt: skip
        """(responses, row) of one request."""
        batch, channel = Batch(session, codec), Channel()
        row = batch.submit(
            Request((20, 21, 22), max_new_tokens=24, eos_token_id=-1, temperature=temperature, seed=seed)
        )
        reply = Reply(Intake(row.request, **intake), channel, AtOnce())
        steps = 0
        while batch.busy:
            if steps == cancel_after:
                batch.cancel(row)
            for emission in batch.step():
                reply.emitted(emission)
            steps += 1
        return channel.sent, row

    return answer


def test_streaming_sends_pieces_that_join_to_the_whole(answer) -> None:
    (whole, _), *rest = answer(stream=False)[0]
    pieces = answer(stream=True)[0]
    assert not rest
    assert len(pieces) > 1
    assert "".join(outputs["text_output"] for outputs, _ in pieces) == whole["text_output"]
    assert sum(outputs["num_output_tokens"] for outputs, _ in pieces) == whole["num_output_tokens"] == 24


def test_only_the_last_response_is_final_and_has_statistics(answer) -> None:
    responses, row = answer(stream=True)
    *others, (last, final) = responses
    assert final
    assert not any(final for _, final in others)
    assert {outputs["finish_reason"] for outputs, _ in others} == {""}
    assert "nfe" not in others[0][0]
    assert last["finish_reason"] == "length"
    assert last["nfe"] == row.nfe
    assert last["tokens_per_forward"] == pytest.approx(24 / row.nfe)
    assert last["acceptance_length"] > 1


def test_prompt_is_put_before_the_first_text_only(answer) -> None:
    responses, _ = answer(stream=True, echo="QUESTION")
    assert responses[0][0]["text_output"].startswith("QUESTION")
    assert "".join(outputs["text_output"] for outputs, _ in responses).count("QUESTION") == 1


def test_counts_are_left_out_on_request(answer) -> None:
    outputs, _ = answer(count_input=False, count_output=False)[0][0]
    assert not {"num_input_tokens", "num_output_tokens"} & set(outputs)


def test_ids_are_answered_with_ids_also_without_a_tokenizer(answer) -> None:
    responses, row = answer(stream=True, reply_ids=True, codec=None)
    assert [token for outputs, _ in responses for token in outputs["output_ids"]] == row.emitted
    assert {outputs["text_output"] for outputs, _ in responses} == {""}


def test_request_that_ends_by_an_error_has_it_as_its_last_response(answer) -> None:
    _, row = answer(stream=True)
    channel = Channel()
    reply = Reply(Intake(row.request), channel, AtOnce())
    reply.emitted(Emission(row, [], "", "error", OperationError("overflow")))
    assert channel.sent == []
    assert [error.what for error in channel.errors] == ["overflow"]


def test_what_has_gone_with_a_later_piece_is_not_sent_again(answer) -> None:
    """The outbox may ask once more for what the response before took along, the last one included."""
    _, row = answer(stream=True)
    channel = Channel()
    reply = Reply(Intake(row.request, stream=True), channel, AtOnce())
    reply.emitted(Emission(row, [5], "text", None))
    reply.send_ready()
    reply.emitted(Emission(row, [6], " end", "length"))
    reply.send_ready()
    assert [(outputs["text_output"], final) for outputs, final in channel.sent] == [("text", False), (" end", True)]


def test_a_client_that_cannot_be_reached_has_gone(answer) -> None:
    _, row = answer(stream=True)
    channel = Channel()
    channel.send = None
    reply = Reply(Intake(row.request, stream=True), channel, AtOnce())
    assert not reply.abandoned()
    reply.emitted(Emission(row, [5], "text", None))
    assert reply.abandoned()


def test_seed_is_on_the_last_response_of_a_sampled_request(answer) -> None:
    *others, (last, _) = answer(stream=True, temperature=1.0, seed=4)[0]
    assert last["seed"] == 4
    assert not any("seed" in outputs for outputs, _ in others)
    assert "seed" not in answer()[0][-1][0]


@pytest.mark.parametrize("steps", [0, 3])
def test_cancelled_request_ends_with_that_reason(answer, steps) -> None:
    responses, _ = answer(stream=True, cancel_after=steps)
    outputs, final = responses[-1]
    assert final
    assert outputs["finish_reason"] == "cancelled"
    assert ("nfe" in outputs) == (steps > 0)


def test_histogram_has_the_acceptance_length_as_its_mean(answer) -> None:
    """Of a block of 32 tokens the last draft is cut, because only 24 tokens were asked for."""
    responses, row = answer(stream=True)
    last = responses[-1][0]
    histogram = last["acceptance_histogram"]
    assert len(histogram) == row.request.block_length
    assert sum(histogram) == len(row.counters.accepted)
    mean = 1 + sum(drafts * count for drafts, count in enumerate(histogram)) / sum(histogram)
    assert mean == pytest.approx(last["acceptance_length"])

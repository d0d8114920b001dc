# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Acceptance from a histogram: the forwards are those of a checkpoint that accepts as much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import pytest

from nld_trt.decode.auto.shapes import Shape
from nld_trt.decode.batch import Batch
from nld_trt.decode.fill import Outcome
from nld_trt.decode.scripted import Script
from nld_trt.errors import InputError
from nld_trt.measure.variant import VARIANTS

PROMPTS = [(1, 73, 20), (1, 73, 21, 40, 41), (1, 9)]
ALWAYS = {length: Script(Shape((0.0,) * (length - 1) + (1.0,)), "a test", 32) for length in (1, 3, 8)}


@dataclass(frozen=True)
class Replay(Script):
    """A script of what requests have really accepted, by their number."""

    accepted: tuple[tuple[int, ...], ...] = ()

    def lengths(self, request: int, block_length: int) -> Iterator[int]:
        return iter(self.accepted[request])


def decode(session, variant, script=None, tokens=24, block=8):
    """The ended rows in the order of ``PROMPTS``, and the forwards: (rows, width, causal rows, cache lengths)."""
    batch, forwards = Batch(session), []
    batch.script = script
    launch = session.launch

    def recorded(buffers):
        inputs = buffers.inputs
        forwards.append(
            (buffers.rows, buffers.width, tuple(inputs["causal"].tolist()), tuple(inputs["cache_length"].tolist()))
        )
        launch(buffers)

    session.launch = recorded
    try:
        rows = [
            batch.submit(
                VARIANTS[variant].request(prompt, max_new_tokens=tokens, block_length=block, stop_on_eos=False)
            )
            for prompt in PROMPTS
        ]
        list(batch.run())
    finally:
        del session.launch
    return rows, forwards


@pytest.mark.parametrize("variant", ["linear", "quadratic"])
def test_a_script_of_what_was_accepted_repeats_every_forward_and_token(golden_session, variant):
    session = golden_session("tiny-a")
    block = 8 if variant == "linear" else session.info.limits.max_quadratic_length
    real, forwards = decode(session, variant, block=block)
    replay = Replay(Shape((1.0,)), "a replay", 32, accepted=tuple(tuple(row.counters.accepted) for row in real))
    scripted, scripted_forwards = decode(session, variant, replay, block=block)
    assert scripted_forwards == forwards
    assert [row.counters for row in scripted] == [row.counters for row in real]
    if variant == "linear":
        assert [row.emitted for row in scripted] == [row.emitted for row in real]


@pytest.mark.parametrize("length", ALWAYS)
def test_verify_passes_accept_what_the_script_says(golden_session, length):
    rows, forwards = decode(golden_session("tiny-a"), "linear", ALWAYS[length])
    for row, prompt in zip(rows, PROMPTS, strict=True):
        assert set(row.counters.accepted) == {length}
        assert len(row.emitted) == 24
        assert row.cache_length == len(prompt) + 23
        # The first token is the prefill's.
        assert row.counters.forwards["verify"] == row.counters.forwards["draft"] == -(-23 // length)
    assert all(0 <= token < 256 for row in rows for token in row.emitted)
    assert {width for _, width, *_ in forwards[1:]} == {8}


def test_slots_that_kernels_do_not_choose_for_keep_their_drafts(golden_session):
    """A kernel gives -1 behind the first draft that does not match."""
    batch = Batch(golden_session("tiny-a"))
    batch.script = ALWAYS[3]
    row = batch.submit(VARIANTS["linear"].request((1, 73), max_new_tokens=9, block_length=4, stop_on_eos=False))
    row.next_pass(8)
    row.advance(Outcome([], [50], 1, True, None))
    draft = row.next_pass(8)
    drafted = replace(draft, tokens=[50, 51, 52, 53], causal=True)
    row.advance(Outcome([50, 51, 52, 53], [], 0, True, drafted))
    emission = row.advance(Outcome([], [60, -1, -1, -1], 1, True, None))
    assert emission.tokens == [51, 52, 52]
    assert (row.pending.tokens[0], row.pending.cache_length, row.tokens_left) == (52, 5, 5)


def test_ar_is_as_it_is_without_a_script(golden_session):
    session = golden_session("tiny-a")
    assert decode(session, "ar", ALWAYS[3])[1] == decode(session, "ar")[1]


def test_a_block_accepts_no_more_than_it_has():
    assert set(islice(ALWAYS[8].lengths(0, 4), 20)) == {4}


def test_draws_follow_the_histogram_and_repeat_for_a_request():
    counts = [30, 10, 40, 20]
    script = Script(Shape.from_counts(counts), "a histogram", len(counts))
    drawn = Counter(islice(script.lengths(7, 4), 20_000))
    # Four standard deviations of a share of 20,000 draws are at most 0.0142.
    assert {k + 1: pytest.approx(count / 100, abs=0.0142) for k, count in enumerate(counts)} == {
        length: count / 20_000 for length, count in drawn.items()
    }
    assert list(islice(script.lengths(7, 4), 50)) == list(islice(script.lengths(7, 4), 50))
    assert list(islice(script.lengths(7, 4), 50)) != list(islice(script.lengths(8, 4), 50))


def test_what_a_histogram_does_not_describe_is_refused(golden_session):
    session = golden_session("tiny-a")
    with pytest.raises(InputError, match="mode diffusion has no drafts"):
        decode(session, "diffusion", ALWAYS[1])
    short = Script(Shape((0.5,)), "counts.json", 4)
    with pytest.raises(InputError, match=r"counts\.json ends at blocks of 4 tokens; one of 8"):
        decode(session, "linear", short)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Rows of the caches: the zones follow each other, nobody loses keys and values, and donors give theirs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nld_trt.decode.places import LIVE, Places, Zone
from nld_trt.decode.row import Row

ROWS, SLOTS = 6, 64


class Slots:
    """A session whose caches hold one token a slot."""

    def __init__(self):
        self.caches = np.full((ROWS, SLOTS), -1)
        self.copied = 0

    def reserve(self, rows, capacity, *, held=None):
        assert rows <= ROWS
        assert capacity <= SLOTS

    def copy_row(self, source, target, slots):
        self.copied += slots
        self.caches[target, :slots] = self.caches[source, :slots]

    def swap_rows(self, one, other, slots):
        self.caches[[one, other], :slots] = self.caches[[other, one], :slots]

    def clear_row(self, row):
        self.caches[row] = -1


def request(prompt, mode="ar", block_length=8):
    return SimpleNamespace(
        prompt_ids=tuple(prompt), auto=False, mode=mode, block_length=block_length, max_new_tokens=99, eos_token_ids=(),
        ensemble=1.0, rejection=False, temperature=0.0, top_k=0, top_p=1.0, min_p=0.0, seed=0, lora=False,
        threshold=None, max_thinking_tokens=None, end_think_token_id=None, aligned=False,
    )  # fmt: skip


def new_row(prompt, mode="ar"):
    return Row(request(prompt, mode), 3, None)


def compute(session, places, row, count):
    """Write the next ``count`` tokens of a row's prompt to its cache."""
    place = places.live.index(row)
    start = row.cache_length
    tokens = row.request.prompt_ids[start : start + count]
    session.caches[place, start : start + len(tokens)] = tokens
    row._cached += len(tokens)


def check(session, places):
    zones = [*places.arrange().values()]
    there = [zone for zone in zones if zone]
    assert [zone.start for zone in there] == [0, *(zone.stop for zone in there)][: len(there)]
    for zone, found in zip(LIVE, zones, strict=True):
        rows = places.rows(found)
        assert len(rows) == len(found)
        for place, row in zip(found, rows, strict=True):
            expected = Zone.PROMPT if row.in_prefill else Zone.TOKEN if row.request.mode == "ar" else Zone.BLOCK
            assert expected == zone
            held = row.request.prompt_ids[: row.cache_length]
            assert tuple(session.caches[place, : len(held)]) == held, "its own keys and values"


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.integers(0, 2), st.integers(1, 40), st.sampled_from(["ar", "linear"])),
        st.tuples(st.just("compute"), st.integers(0, ROWS), st.integers(1, 30)),
        st.tuples(st.just("leave"), st.integers(0, ROWS)),
    ),
    max_size=40,
)


@settings(max_examples=150)
@given(ACTIONS, st.booleans())
def test_rows_keep_what_is_theirs_wherever_they_are_moved(actions, keeps):
    session = Slots()
    places = Places(session, ROWS, keeps_donors=keeps)
    for action, *values in actions:
        live = places.live
        if action == "join" and len(live) < ROWS:
            family, length, mode = values
            places.join(new_row([100 * family + token for token in range(length)], mode))
        elif action == "compute" and live:
            compute(session, places, live[values[0] % len(live)], values[1])
        elif action == "leave" and live:
            places.leave(live[values[0] % len(live)])
        places.arrange()
        check(session, places)
        assert places.donors + len(places.live) <= ROWS
        assert keeps or not places.donors


@pytest.fixture
def donated():
    """A session, and places in which the first row belongs to an ended request of 20 tokens."""
    session = Slots()
    places = Places(session, ROWS, keeps_donors=True)
    first = new_row(range(20))
    places.join(first)
    places.arrange()
    compute(session, places, first, 20)
    places.leave(first)
    return session, places


def test_a_longer_prompt_takes_over_the_row_that_it_begins_with(donated):
    session, places = donated
    row = new_row(range(30))
    places.join(row)
    places.arrange()
    assert (row.cache_length, row.counters.cached_tokens) == (20, 20)
    assert (session.copied, places.donors) == (0, 0)
    check(session, places)


def test_a_shared_beginning_is_copied_and_no_more(donated):
    session, places = donated
    row = new_row([*range(18), 99, 98])
    places.join(row)
    places.arrange()
    # The second copy makes room: the donor has been where the live row belongs.
    assert row.cache_length == 18
    assert session.copied <= 18 + 20
    assert places.donors == 1
    check(session, places)


def test_a_prompts_last_token_is_always_computed(donated):
    _, places = donated
    row = new_row(range(20))
    places.join(row)
    assert row.cache_length == 19


def test_a_running_request_gives_its_prompt_too(donated):
    session, places = donated
    for _ in range(3):
        places.join(new_row(range(40)))
        places.arrange()
        check(session, places)
    assert [row.cache_length for row in places.live] == [20, 20, 20]


def test_a_short_beginning_is_computed_again(donated):
    _, places = donated
    row = new_row([*range(15), 77, 78])
    places.join(row)
    assert row.cache_length == 0


def test_the_donor_of_no_use_for_longest_makes_room():
    session = Slots()
    places = Places(session, ROWS, keeps_donors=True)
    for family in range(ROWS):
        row = new_row([100 * family + token for token in range(20)])
        places.join(row)
        places.arrange()
        compute(session, places, row, 20)
        places.leave(row)
    assert places.donors == ROWS
    used = new_row([*range(20), 99])
    places.join(used)
    places.leave(used)
    places.join(new_row([7] * 30))
    assert places.donors == ROWS - 1
    again = new_row([*range(20), 98])
    places.join(again)
    assert again.cache_length == 20, "the one that was used stayed"


def test_numbers_that_are_not_finite_are_given_to_nobody():
    session = Slots()
    places = Places(session, ROWS, keeps_donors=True)
    row = new_row(range(20))
    places.join(row)
    places.arrange()
    compute(session, places, row, 20)
    row.spoiled = True
    places.leave(row)
    assert places.donors == 0
    assert (session.caches == -1).all()


def test_donors_that_are_longer_than_wanted_are_dropped(donated):
    _, places = donated
    places.forget_longer(20)
    assert (places.donors, places.longest()) == (1, 20)
    places.forget_longer(19)
    assert (places.donors, places.longest()) == (0, 0)

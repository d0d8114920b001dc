# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Which request has which row of the caches.

Rows of requests that do the same follow each other, so that a forward is over a contiguous range of rows and computes
nothing for anybody else: first those that decode one token a pass, then those that decode a block, then those whose
prompt is not in the cache yet. Behind them are rows of requests that have ended: donors, whose keys and values a later
request takes over or copies where its prompt begins with the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from nld_trt.decode.row import Row
from nld_trt.engine.session import Session

# Fewer tokens than these are computed as fast as they are copied.
_LEAST_SHARED = 16


class Zone(IntEnum):
    """What a row of the caches is used for, in the order of the rows."""

    TOKEN = 0  # a request whose passes have one token
    BLOCK = 1  # a request whose passes have a block of tokens
    PROMPT = 2  # a request whose prompt is not in the cache yet
    IDLE = 3  # a donor, or nothing


LIVE = (Zone.TOKEN, Zone.BLOCK, Zone.PROMPT)


@dataclass(eq=False)
class Donor:
    """What is left of a request that has ended.

    Attributes:
        tokens: those whose keys and values its row holds, int64 [length].
        used: when it was last of use, in joined requests.
    """

    tokens: npt.NDArray[np.int64]
    used: int


class Places:
    """The rows of a session's caches. No forward may be running while they change.

    Args:
        count: rows that may be used.
        keeps_donors: rows of ended requests are kept for others until their memory is needed.
        repeats_last: a request computes the last token that it could take over again, because a head's keys and values
            of a token are also those of the token after it, which may be another one here.

    Attributes:
        changes: how often what a row holds has changed other than by its own forwards.
    """

    def __init__(self, session: Session, count: int, *, keeps_donors: bool, repeats_last: bool = False) -> None:
        self._session = session
        self._keeps_donors = keeps_donors
        self._repeats_last = repeats_last
        self._held: list[Row | Donor | None] = [None] * count
        self._joined = 0
        self.changes = 0

    @property
    def live(self) -> list[Row]:
        """The requests that have a row, in the order of the rows."""
        return [held for held in self._held if isinstance(held, Row)]

    @property
    def donors(self) -> int:
        """How many rows are kept for others."""
        return sum(isinstance(held, Donor) for held in self._held)

    def rows(self, places: range) -> list[Row]:
        """The requests of live rows."""
        return [held for held in self._held[places.start : places.stop] if isinstance(held, Row)]

    def length(self, place: int) -> int:
        """The slots of a row that hold something which is still wanted."""
        held = self._held[place]
        return held.cache_length if isinstance(held, Row) else 0 if held is None else len(held.tokens)

    def longest(self) -> int:
        """The slots that the fullest row holds."""
        return max(self.length(place) for place in range(len(self._held)))

    def join(self, row: Row) -> None:
        """Give a request a row, with all that another row can give it: a prompt's last token is always computed.

        Where tokens of a prompt see others that come after them, these are given together.
        """
        self._joined += 1
        self.changes += 1
        source, shared = self._most_shared(row.request.prompt_ids[:-1], row.mode.unit)
        donor = None if source is None else self._held[source]
        if isinstance(donor, Donor):
            donor.used = self._joined
        taken_over = isinstance(donor, Donor) and shared == len(donor.tokens)
        place = source if taken_over and source is not None else self._free_place()
        if source is not None and source != place:
            self._session.reserve(place + 1, shared)
            self._session.copy_row(source, place, shared)
        self._held[place] = row
        row.begin_after(max(0, shared - self._repeats_last))

    def leave(self, row: Row) -> None:
        """Take a request's row away. It becomes a donor if donors are kept and it holds finite numbers only."""
        self.changes += 1
        place = self._held.index(row)
        self._held[place] = None
        if self._keeps_donors and not row.spoiled and row.cache_length >= _LEAST_SHARED:
            tokens = [*row.request.prompt_ids, *row.emitted][: row.cache_length]
            self._held[place] = Donor(np.array(tokens, np.int64), self._joined)
        if row.spoiled:
            self._session.clear_row(place)

    def arrange(self) -> dict[Zone, range]:
        """Exchange rows until the zones follow each other. Returns the rows of each live zone."""
        zones = [_zone(held) for held in self._held]
        wanted = [zone for zone in LIVE for _ in range(zones.count(zone))]
        if wanted != zones[: len(wanted)]:
            self._sort(zones, wanted)
        starts = [wanted.index(zone) if zone in wanted else 0 for zone in LIVE]
        return {zone: range(start, start + wanted.count(zone)) for zone, start in zip(LIVE, starts, strict=True)}

    def _sort(self, zones: list[Zone], wanted: Sequence[Zone]) -> None:
        """Exchange rows, whose zones are ``zones``, until the first ones are in the zones ``wanted``."""
        for place, zone in enumerate(wanted):
            if zones[place] == zone:
                continue
            others = [other for other in range(place + 1, len(zones)) if zones[other] == zone]
            # A row that stands where this one belongs needs no further exchange.
            fitting = [other for other in others if other < len(wanted) and wanted[other] == zones[place]]
            other = (fitting or others)[-1]
            self._exchange(place, other)
            zones[place], zones[other] = zones[other], zones[place]

    def forget_longer(self, slots: int) -> None:
        """Drop the donors that hold more than ``slots`` slots."""
        self._held = [None if isinstance(held, Donor) and len(held.tokens) > slots else held for held in self._held]

    def forget(self) -> None:
        """Drop every request and donor. Rows of live requests are cleared, whatever an interrupted pass left there.

        Raises:
            OperationError: the session's device does not work. Everything is dropped all the same.
        """
        live = [place for place, held in enumerate(self._held) if isinstance(held, Row)]
        self._held = [None] * len(self._held)
        if live:
            self._session.reserve(max(live) + 1, 1)
        for place in live:
            self._session.clear_row(place)

    def _most_shared(self, prompt_ids: Sequence[int], unit: int) -> tuple[int | None, int]:
        """The row that begins with most of the prompt's tokens, and how many these are, a multiple of ``unit``."""
        if not self._keeps_donors:
            return None, 0
        prompt = np.array(prompt_ids, np.int64)
        shared = [_shared(prompt, self._tokens(place)) // unit * unit for place in range(len(self._held))]
        best = max(range(len(shared)), key=lambda place: (shared[place], -self.length(place)))
        return (best, shared[best]) if shared[best] >= _LEAST_SHARED else (None, 0)

    def _tokens(self, place: int) -> Sequence[int] | npt.NDArray[np.int64]:
        held = self._held[place]
        if isinstance(held, Row):
            # What a request has generated is hardly ever in another one's prompt while it runs.
            return () if held.spoiled else held.request.prompt_ids[: held.cache_length]
        return () if held is None else held.tokens

    def _free_place(self) -> int:
        """A row that holds nothing, or the donor that was of no use for longest."""
        if None in self._held:
            return self._held.index(None)
        donors = [(held.used, place) for place, held in enumerate(self._held) if isinstance(held, Donor)]
        return min(donors)[1]

    def _exchange(self, one: int, other: int) -> None:
        self.changes += 1
        lengths = self.length(one), self.length(other)
        if all(lengths):
            self._session.swap_rows(one, other, max(lengths))
        elif any(lengths):
            source, target = (one, other) if lengths[0] else (other, one)
            self._session.reserve(max(one, other) + 1, max(lengths))
            self._session.copy_row(source, target, max(lengths))
            held = self._held[source]
            if isinstance(held, Row) and held.spoiled:
                self._session.clear_row(source)
        self._held[one], self._held[other] = self._held[other], self._held[one]


def _zone(held: Row | Donor | None) -> Zone:
    if not isinstance(held, Row):
        return Zone.IDLE
    if held.in_prefill:
        return Zone.PROMPT
    return Zone.TOKEN if held.widest == 1 else Zone.BLOCK


def _shared(prompt: npt.NDArray[np.int64], tokens: Sequence[int] | npt.NDArray[np.int64]) -> int:
    """How many tokens both begin with."""
    count = min(len(prompt), len(tokens))
    differ = np.flatnonzero(prompt[:count] != np.asarray(tokens[:count], np.int64))
    return int(differ[0]) if differ.size else count

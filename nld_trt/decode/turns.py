# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Whose forward is next, where the rows of a batch do different things.

Rows that decode single tokens, rows that decode blocks, and rows whose prompts are being read have forwards of their
own. Each of the first two kinds gets time in proportion to its rows, so that somebody who decodes token by token is not
slowed down more by a neighbour who decodes blocks than by one of his own kind. Where a forward of few rows takes as
long as one of many, as on a GPU, that alone would halve his speed: he is owed a forward whenever his tokens take longer
than beside as many rows of his own kind, and a third of that. Between two of their forwards there is
one chunk of prompts, which takes no longer than the forward of those who wait for it, unless these are fewer than the
prompts: the time between two tokens of a request is at most doubled, and evenly. Kinds of rows share a forward where
that costs less than two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from nld_trt.decode.forward_times import ForwardTimes
from nld_trt.decode.places import Zone

_Place = TypeVar("_Place")
# The zones whose rows share a forward.
Turn = tuple[Zone, ...]
PROMPTS: Final[Turn] = (Zone.PROMPT,)
DECODING: Final[Turn] = (Zone.TOKEN, Zone.BLOCK)

# The shortest chunk of a prompt beside rows that decode. Shorter ones cost nearly as much as this.
_LEAST_CHUNK = 16
# A chunk may take so many times as long as one of no tokens would: where reading the weights is most of a forward's
# time, a shorter chunk would save hardly any of it, and there would be many more of them.
_OVER_FIXED = 1.25
# The part of the speed beside rows of their own kind that rows which decode token by token keep beside blocks.
_KEPT_SPEED = 0.75


class Turns:
    """Chooses the next forward by the time that each kind of rows has had.

    Args:
        prompt_chunk: the most prompt tokens of a row in one forward.
        max_num_batched_tokens: tokens of all rows that a round of forwards may compute while prompts are read; None
            lets a chunk take as long as a forward of the rows that wait for it.

    Attributes:
        token_seconds: of a forward of so many rows that decode single tokens; None where that is not known, and then
            nothing is owed to anybody.
    """

    def __init__(self, prompt_chunk: int, max_num_batched_tokens: int | None = None) -> None:
        self._prompt_chunk = prompt_chunk
        self._most = max_num_batched_tokens
        self._times = {zone: ForwardTimes() for zone in (Zone.TOKEN, Zone.BLOCK, Zone.PROMPT)}
        # The time that each zone which decodes has had, per row of it.
        self._had: dict[Zone, float] = {}
        # Seconds by which tokens, beside blocks, are later than they are to be at most.
        self._owed = 0.0
        self.token_seconds: Callable[[int], float] | None = None
        self._last: Turn = ()

    @property
    def chunks_are_by_time(self) -> bool:
        """Whether nobody has stated how long a chunk is."""
        return self._most is None

    def next(self, counts: Mapping[Zone, int], width: int, rest: int = 0) -> Turn | None:
        """The zones of the next forward, which follow each other; None where no row is live.

        Args:
            counts: rows of each live zone.
            width: tokens of the widest pass in the block zone.
            rest: the longest rest of a prompt.
        """
        decoding = [zone for zone in DECODING if counts.get(zone)]
        if counts.get(Zone.PROMPT) and (not decoding or self._last != PROMPTS):
            shared = (decoding[-1], Zone.PROMPT) if decoding else PROMPTS
            return shared if decoding and self._prompts_fit(counts, shared[0], width, rest) else PROMPTS
        if not decoding:
            self._had.clear()
            return None
        known = [self._had[zone] for zone in decoding if zone in self._had]
        # A zone that was empty has saved nothing up meanwhile.
        self._had = {zone: max(self._had.get(zone, 0.0), min(known, default=0.0)) for zone in decoding}
        if len(decoding) > 1 and self._owed > 0:
            return (Zone.TOKEN,)
        if len(decoding) > 1 and self._together_is_cheaper(counts, width):
            return DECODING
        return (min(decoding, key=lambda zone: (self._had[zone], zone)),)

    def chunk(self, counts: Mapping[Zone, int], decoded: int) -> int:
        """The most prompt tokens of the next forward that reads prompts.

        Args:
            counts: rows of each live zone.
            decoded: tokens that one forward of every row that decodes computes.
        """
        beside = [zone for zone in DECODING if counts.get(zone)]
        if self._most is not None:
            return max(1, self._most - decoded)
        prompts = counts.get(Zone.PROMPT, 1)
        if not beside:
            return self._prompt_chunk * prompts
        # More prompts than requests that wait for them may take more time: else many prompts would wait while few
        # requests decode in short forwards.
        share = max(1.0, prompts / sum(counts[zone] for zone in beside))
        times = self._times[Zone.PROMPT]
        wanted = max(share * min(self._times[zone].latest for zone in beside), _OVER_FIXED * times.fixed)
        return times.most_tokens(wanted, _LEAST_CHUNK, self._prompt_chunk * prompts)

    def ran(self, turn: Turn, counts: Mapping[Zone, int], tokens: int, seconds: float) -> None:
        """Count a forward that has run.

        Args:
            counts: rows of each live zone when it was started.
            tokens: that it computed, padding included.
        """
        self._last = turn
        # Blocks with whole prompts beside them have logits as blocks have them, and tokens with prompts as prompts.
        self._times[Zone.BLOCK if Zone.BLOCK in turn else turn[-1]].add(tokens, seconds)
        zones = [zone for zone in turn if zone != Zone.PROMPT]
        for zone in zones:
            rows = sum(counts[each] for each in zones)
            self._had[zone] = self._had.get(zone, 0.0) + seconds / rows
        if zones:
            self._owe(turn, counts, seconds)

    def _owe(self, turn: Turn, counts: Mapping[Zone, int], seconds: float) -> None:
        """Count what a forward of rows that decode makes rows wait that decode token by token."""
        if self.token_seconds is None or not (counts.get(Zone.TOKEN) and counts.get(Zone.BLOCK)):
            self._owed = 0.0
            return
        granted = 0.0
        if Zone.TOKEN in turn:
            granted = self.token_seconds(counts[Zone.TOKEN] + counts[Zone.BLOCK]) / _KEPT_SPEED
        # Neither side saves up more than one forward.
        most = max(self._times[Zone.BLOCK].latest, seconds)
        self._owed = min(max(self._owed + seconds - granted, -granted), most)

    def _together_is_cheaper(self, counts: Mapping[Zone, int], width: int) -> bool:
        """Whether one forward, in which every row is as wide as the blocks, costs less than two."""
        tokens, blocks = counts[Zone.TOKEN], counts[Zone.BLOCK]
        times = self._times[Zone.BLOCK]
        apart = self._times[Zone.TOKEN].seconds(tokens) + times.seconds(blocks * width)
        return bool(apart) and times.seconds((tokens + blocks) * width) < apart

    def _prompts_fit(self, counts: Mapping[Zone, int], zone: Zone, width: int, rest: int) -> bool:
        """Whether all prompts can be read to their end in a forward of ``zone``, and that costs less than two."""
        if zone == Zone.TOKEN:
            width = 1
        prompts, rows = counts[Zone.PROMPT], counts[zone]
        tokens = (prompts + rows) * max(width, rest)
        if rest > self._prompt_chunk or (self._most is not None and tokens > self._most):
            return False
        own, reading = self._times[zone].seconds(rows * width), self._times[Zone.PROMPT].seconds(prompts * rest)
        shared = self._times[Zone.BLOCK if zone == Zone.BLOCK else Zone.PROMPT].seconds(tokens)
        return bool(own and reading) and shared < own + reading


def widest_run(widths: Sequence[int], lead: int, most: int) -> range:
    """The places around ``lead`` that share a forward of at most ``most`` tokens and at most half of it padding.

    Args:
        widths: tokens that each place has for the forward.
    """

    def fits(run: Sequence[int]) -> bool:
        padded = len(run) * max(run)
        return padded <= most and padded <= 2 * sum(run)

    return _run(widths, lead, fits)


def alike_run(passes: Sequence[tuple[int, int]], lead: int, slots: int) -> range:
    """The places around ``lead`` that share a forward in which the widest pass is at most twice as wide as any other.

    Args:
        passes: cached and new tokens of each place. There are so many new ones that each of them costs.
        slots: that a row of the caches has. A forward writes as many in each row as its widest pass has tokens.
    """

    def fits(run: Sequence[tuple[int, int]]) -> bool:
        cached, widths = [held for held, _ in run], [width for _, width in run]
        return max(widths) <= 2 * min(widths) and max(cached) + max(widths) <= slots

    return _run(passes, lead, fits)


def _run(places: Sequence[_Place], lead: int, fits: Callable[[Sequence[_Place]], bool]) -> range:
    """The places around ``lead``, as many as ``fits``, those after it first."""
    start, stop = lead, lead + 1
    while True:
        if stop < len(places) and fits(places[start : stop + 1]):
            stop += 1
        elif start > 0 and fits(places[start - 1 : stop]):
            start -= 1
        else:
            return range(start, stop)

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Between a batch and its controller: which requests of mode auto decode how from their next round on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from nld_trt import names
from nld_trt.decode.auto.candidate import AUTOREGRESSIVE, Candidate
from nld_trt.decode.auto.controller import Cause, Controller, Decision, RowHistory
from nld_trt.decode.auto.costs import CostTable
from nld_trt.decode.auto.live import LiveCosts
from nld_trt.decode.row import Emission, Row
from nld_trt.engine.session import Session

log = logging.getLogger(__name__)

# Forwards between two looks at how far the table is off.
_CHECK_EVERY = 256


@dataclass(frozen=True)
class Switch:
    """A decision that was another than the one before it."""

    before: Candidate
    after: Candidate
    cause: Cause


class Steering:
    """The controller of one batch, and what it knows of the requests of mode auto. Not thread-safe.

    Args:
        table: costs of the session's forwards.
    """

    def __init__(self, session: Session, table: CostTable) -> None:
        self.costs = LiveCosts(table)
        self.controller = Controller.of(session, self.costs)
        self._histories: dict[Row, RowHistory] = {}
        # Verified drafts of each request that the controller has been told of.
        self._told: dict[Row, int] = {}
        self._decision: Decision | None = None
        self._switches: list[Switch] = []
        self._timed = 0
        self._warned = False

    def learn(self, rows: Sequence[Row], live: Sequence[Row]) -> None:
        """Take in what a forward has given its rows, and decide anew where a round has ended.

        Args:
            rows: of the forward.
            live: all rows of the batch.
        """
        for row in rows:
            if row.request.auto:
                self._learn(row)
        decoding = [self._history(row) for row in live if _decodes(row)]
        if decoding and any(row.begins_round and _decodes(row) for row in rows):
            before, self._decision = self._decision, self.controller.decide(decoding)
            if before is not None and before.candidate != self._decision.candidate:
                self._switches.append(Switch(before.candidate, self._decision.candidate, self._decision.cause))

    def timed(self, rows: int, width: int, seconds: float) -> None:
        """Take in the seconds of a forward of rows that decode. A table that is far off is said once."""
        self.costs.observe(rows, width, seconds)
        self._timed += 1
        if not self._warned and self._timed % _CHECK_EVERY == 0 and (off := self.costs.off):
            self._warned = True
            log.warning("%s; nld-trt bench loop --table measures it again", off)

    def token_seconds(self, rows: int) -> float:
        """The expected seconds of a forward of ``rows`` rows that decode single tokens."""
        return self.costs.seconds(rows, AUTOREGRESSIVE.block_length)

    def waits(self, live: Sequence[Row]) -> bool:
        """Whether some request is to decode in another way from its next round on."""
        return any(_decodes(row) and self._for(row) != _candidate(row) for row in live)

    def steer(self, live: Sequence[Row]) -> list[Emission]:
        """Have the requests that begin a round decode as was decided. Returns what that emits."""
        emissions = []
        for row in live:
            decided = self._for(row) if _decodes(row) and row.begins_round else None
            if decided is not None and self._decision is not None:
                made = row.switch(decided.mode, decided.block_length, self._decision.reason)
                emissions += [made] if made is not None else []
        return emissions

    def forget(self, row: Row) -> None:
        """Drop what is known of a request that has ended."""
        self._histories.pop(row, None)
        self._told.pop(row, None)

    def take_switches(self) -> list[Switch]:
        """The switches since the last call."""
        taken, self._switches = self._switches, []
        return taken

    def _for(self, row: Row) -> Candidate:
        """What is decided for a row. A request may have asked for shorter blocks."""
        if self._decision is None:
            return _candidate(row)
        decided = self._decision.candidate
        return Candidate(decided.mode, min(decided.block_length, row.request.block_length))

    def _history(self, row: Row) -> RowHistory:
        if row not in self._histories:
            self._histories[row] = self.controller.join(allow_diffusion=row.request.may_diffuse)
        return self._histories[row]

    def _learn(self, row: Row) -> None:
        if row.spoiled:
            return
        history, counters, told = self._history(row), row.counters, self._told.get(row, 0)
        if len(counters.accepted) > told:
            self._told[row] = len(counters.accepted)
            cut = counters.dropped if row.finish_reason is not None else 0
            history.verified(max(1, counters.accepted[-1] - cut), row.mode.block_length)
        elif row.begins_round and row.mode.request.mode == names.DIFFUSION and counters.denoise_passes:
            history.denoised(row.mode.block_length, counters.denoise_passes[-1] + 1)


def _decodes(row: Row) -> bool:
    return row.request.auto and row.finish_reason is None and not row.in_prefill


def _candidate(row: Row) -> Candidate:
    return Candidate(row.mode.request.mode, row.mode.block_length)

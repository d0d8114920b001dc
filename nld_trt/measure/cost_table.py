# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Measures the cost table of an engine: what a forward takes, over its rows and its width.

The forwards are those of the decode loop, with all that the host does between them: a server's choice between one token
and a block is a choice between loops, and on a small model the host is a large part of one. A draft and a verify
forward take the same time within a few percent, so that a table has one time for both, half of a round.
"""

from __future__ import annotations

import logging
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import nld_trt
from nld_trt import names
from nld_trt.decode.auto.candidate import AUTOREGRESSIVE, BLOCK_LENGTHS
from nld_trt.decode.auto.costs import CostPoint, CostTable, Origin
from nld_trt.decode.auto.stored import TablePlace
from nld_trt.engine.folder import EngineFolder
from nld_trt.engine.session import Session
from nld_trt.graph.contract import Limits
from nld_trt.machine import environment
from nld_trt.machine.clocks import clocks
from nld_trt.measure.loop_times import DecodeLoop, tokens_needed
from nld_trt.progress import SILENT, Progress

log = logging.getLogger(__name__)

# Rounds that are timed together, and what the rows have cached before them.
_IN_A_ROW: Final = 4
_CONTEXT: Final = 64
_REPEATS: Final = (3, 15)
# Seconds of a forward above which one round is timed at once.
_LONG_ENOUGH: Final = 0.01
# Seconds that the timed repeats may take together, after one that warms up.
DEFAULT_BUDGET: Final = 10.0
# The part of the budget that one forward may take: more rows of that width are left to extrapolation.
_LONGEST_FORWARD: Final = 1 / 200


@dataclass
class _Place:
    """A number of rows and a width, the loop that times them, and the times of its forwards in seconds."""

    rows: int
    width: int
    loop: DecodeLoop
    times: list[float]

    def forward(self) -> float:
        seconds, _ = self.loop.round()
        return seconds / (2 if self.loop.mode == names.LINEAR else 1)

    @property
    def point(self) -> CostPoint:
        return CostPoint(self.rows, self.width, float(f"{statistics.median(self.times):.6g}"))


def measure_costs(
    session: Session, origin: Origin, *, budget: float = DEFAULT_BUDGET, progress: Progress = SILENT
) -> CostTable:
    """Time the decode loop over rows and widths, in turns, so that other load on the machine slows all of them alike.

    Rows are powers of two up to the engine's, and widths 1 and the block lengths that ``auto`` chooses from. The times
    are medians. Numbers of rows whose forwards take long are left out: a table extrapolates.

    Args:
        budget: seconds of the timed repeats; at least 3 repeats are timed whatever they take.
    """
    limits = session.info.limits
    with progress.stage("timing forwards"):
        places = [place for width in timed_widths(limits) for place in _warm(session, width, budget * _LONGEST_FORWARD)]
        least, most = _REPEATS
        started = time.perf_counter()
        for repeat in range(most):
            if repeat >= least and (time.perf_counter() - started) * (repeat + 1) / repeat > budget:
                break
            for place in places:
                place.times.append(place.forward())
    return CostTable(tuple(place.point for place in places), origin)


def timed_rows(limits: Limits) -> tuple[int, ...]:
    """Powers of two up to the engine's rows, and the engine's rows."""
    most = limits.max_batch_size
    return tuple(sorted({most, *(2**power for power in range(most.bit_length()))}))


def timed_widths(limits: Limits) -> tuple[int, ...]:
    """1, and the block lengths that are compared, as far as the engine has them and room for a few rounds."""
    blocks = [
        length
        for length in BLOCK_LENGTHS
        if length <= limits.max_block_length and tokens_needed(1, length, _IN_A_ROW) <= limits.max_seq_len
    ]
    return (AUTOREGRESSIVE.block_length, *blocks)


def _warm(session: Session, width: int, longest: float) -> Sequence[_Place]:
    """The places of one width, each after a first round, up to the first whose forwards take more than ``longest``."""
    limits = session.info.limits
    mode = AUTOREGRESSIVE.mode if width == AUTOREGRESSIVE.block_length else names.LINEAR
    context = max(1, min(_CONTEXT, limits.max_seq_len - tokens_needed(0, width, _IN_A_ROW)))
    needed = tokens_needed(context, width, _IN_A_ROW)
    found: list[_Place] = []
    for rows in timed_rows(limits):
        place = _Place(rows, width, DecodeLoop(session, mode, rows, context, width, needed, _IN_A_ROW), [])
        found.append(place)
        seconds = place.forward()
        if seconds > longest:
            break
        if seconds > _LONG_ENOUGH:
            place.loop.in_a_row = 1
    return found


def origin_of(folder: EngineFolder, session: Session, *, command: str = "") -> Origin:
    """Where a table that is measured now belongs to.

    Args:
        command: that measures it.
    """
    info, gpu = session.info, session.device == "gpu"
    place = TablePlace.of(folder, info.backend, gpu=gpu)
    needed = tokens_needed(_CONTEXT, info.default_block_length, _IN_A_ROW)
    fitting = [length for length in session.attended_lengths if length >= needed]
    return Origin(
        engine=place.engine,
        device=place.device,
        backend=info.backend,
        precision=info.precision,
        command=command,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        context=_CONTEXT,
        attended=min(fitting, default=info.limits.capacity) if gpu else None,
        clocks=clocks(gpu=gpu),
        versions={
            "nld-trt": nld_trt.__version__,
            "python": platform.python_version(),
            **folder.manifest.backends[info.backend].tools,
        },
    )


def load_or_measure(
    folder: EngineFolder, session: Session, *, budget: float = DEFAULT_BUDGET, progress: Progress = SILENT
) -> CostTable:
    """The cost table of an engine on this machine: the stored one, or one that is measured now and stored.

    No request may be decoded by ``session`` meanwhile. A folder that cannot be written is no error: the table is then
    in memory only, and the log says so.
    """
    gpu = session.device == "gpu"
    place = TablePlace.of(folder, session.info.backend, gpu=gpu, facts=environment.facts())
    stored = place.load()
    if stored is not None:
        log.info("cost table: %s", place.path)
        return stored
    table = measure_costs(session, origin_of(folder, session, command="first load"), budget=budget, progress=progress)
    if place.store(table) is not None:
        log.info("cost table: measured, and stored in %s", place.path)
    return table

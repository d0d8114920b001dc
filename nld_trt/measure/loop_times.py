# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The time of a round of linear self-speculation, against two one-token forwards, the least that two forwards take.

A forward reads every weight once, whatever its width: where memory bandwidth is the limit, a draft and a verify of a
whole block should take as long as two one-token forwards. The ideal fraction says how close an engine comes to that:

    2 * t1 / (t_draft + t_verify + gaps)

t1 is the time of a one-token forward. The denominator is the time of a round of the decode loop, from one verify to the
next: its two forwards, and gaps, the rest of the round.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nld_trt import names
from nld_trt.decode.batch import Batch
from nld_trt.decode.fill import Pass, PassSettings, fill
from nld_trt.decode.request import Request
from nld_trt.engine.session import EngineInfo, Session, StepBuffers, execute
from nld_trt.errors import InputError
from nld_trt.names import NEVER

_WARM_UP = 3
# Forwards that are launched before the host waits for the last; also the rounds that are timed together.
_IN_A_ROW = 8
# Rounds of a request before the timed ones.
_UNTIMED_ROUNDS = 2
_TIMES = ("one_token", "draft", "verify", "round", "gaps", "token_round")


@dataclass(frozen=True)
class LoopTimes:
    """Medians over repeats, in seconds; every forward has ``rows`` rows with ``context`` cached tokens before it.

    Attributes:
        one_token: a forward of one token per row.
        draft, verify: forwards of a block per row.
        round: of the decode loop, draft and verify, with everything that the host does.
        token_round: of the decode loop in AR mode: one token per row.
        host_share: part of a round in which the host neither launches a forward nor waits for one.
    """

    rows: int
    context: int
    block_length: int
    repeats: int
    one_token: float
    draft: float
    verify: float
    round: float
    token_round: float
    host_share: float

    @property
    def gaps(self) -> float:
        """Seconds of a round beyond its two forwards. Below 0 if the forwards took longer when they were timed alone,
        because the machine was slower then."""
        return self.round - self.draft - self.verify

    @property
    def ideal_fraction(self) -> float:
        return 2 * self.one_token / self.round

    def to_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "context": self.context,
            "block_length": self.block_length,
            "repeats": self.repeats,
            **{f"{name}_ms": getattr(self, name) * 1e3 for name in _TIMES},
            "block_over_token": self.verify / self.one_token,
            "host_share": self.host_share,
            "ideal_fraction": self.ideal_fraction,
        }


def measure_loop(session: Session, *, rows: int, context: int, block_length: int, repeats: int) -> LoopTimes:
    """Time single forwards and the loop in turns, so that other load on the machine slows all of them alike.

    Raises:
        InputError: the engine was built for fewer rows, shorter blocks or shorter sequences, or its model has no mode
            linear.
    """
    family = session.info.config.family
    if names.LINEAR not in family.modes:
        raise InputError(
            f"rounds of {names.LINEAR} mode are timed against single tokens, and {family.title} decodes in "
            f"{', '.join(family.modes)}",
            fix="Measure its modes: nld-trt sweep ENGINE_DIR --prompts FILE -o DIR",
        )
    needed = tokens_needed(context, block_length)
    _check(session.info, rows, context, block_length)
    linear = DecodeLoop(session, names.LINEAR, rows, context, block_length, needed)
    token = DecodeLoop(session, names.AR, rows, context, block_length, needed)
    kinds = _kinds(session, rows, context, block_length)
    times: dict[str, list[float]] = {name: [] for name in (*kinds, "round", "token_round", "host")}
    for repeat in range(repeats + _WARM_UP):
        found = {name: _timed(session, make()) for name, make in kinds.items()}
        found["round"], engine = linear.round()
        found["host"] = (found["round"] - engine) / found["round"]
        found["token_round"], _ = token.round()
        if repeat >= _WARM_UP:
            for name, value in found.items():
                times[name].append(value)
    medians = {name: statistics.median(values) for name, values in times.items()}
    host_share = medians.pop("host")
    return LoopTimes(rows, context, block_length, repeats, host_share=host_share, **medians)


def measure_forwards(session: Session, *, rows: int, context: int, block_length: int, repeats: int) -> dict[str, float]:
    """Time single forwards, whose context is whatever the caches hold: medians in seconds of ``one_token``, ``draft``
    and ``verify``.

    Raises:
        InputError: the engine was built for fewer rows, shorter blocks or shorter sequences.
    """
    _check(session.info, rows, context, block_length)
    kinds = _kinds(session, rows, context, block_length)
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for repeat in range(repeats + _WARM_UP):
        for name, make in kinds.items():
            seconds = _timed(session, make())
            if repeat >= _WARM_UP:
                times[name].append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def _kinds(session: Session, rows: int, context: int, block_length: int) -> dict[str, Callable[[], StepBuffers]]:
    """The forwards that are timed by themselves."""
    return {
        "one_token": lambda: _forward(session, rows, context, 1, causal=True),
        "draft": lambda: _forward(session, rows, context, block_length, causal=False),
        "verify": lambda: _forward(session, rows, context, block_length, causal=True),
    }


def tokens_needed(context: int, block_length: int, in_a_row: int = _IN_A_ROW) -> int:
    """Return the tokens per row that the timed rounds can need: a round emits a whole block at most."""
    return context + 1 + (_UNTIMED_ROUNDS + in_a_row) * block_length


def _check(info: EngineInfo, rows: int, context: int, block_length: int) -> None:
    """Refuse what the engine was not built for, and name the flag to lower and the flag to rebuild with."""
    limits, needed = info.limits, tokens_needed(context, block_length)
    longest = context + limits.max_seq_len - needed
    context_fix = f"--context {longest} or less" if longest > 0 else "a smaller --block-length"
    for asked, value, built_for, flag, most, fix in (
        (f"--batch-size is {rows}", rows, limits.max_batch_size, "--max-batch-size", None,
         f"--batch-size {limits.max_batch_size} or less"),
        (f"--block-length is {block_length}", block_length, limits.max_block_length, "--block-length", None,
         f"--block-length {limits.max_block_length} or less"),
        (f"rounds of {block_length} tokens after {context} take {needed} tokens", needed, limits.max_seq_len,
         "--max-seq-len", info.config.max_position_embeddings, context_fix),
    ):  # fmt: skip
        if value > built_for:
            other = f", or rebuild with nld-trt build {flag} {value}"
            if most is not None and value > most:
                other = f"; nld-trt build {flag} goes up to {most} with this checkpoint"
            raise InputError(f"{asked}; the engine was built for {built_for}", fix=f"Use {fix}{other}.")


class DecodeLoop:
    """The decode loop on full batches of requests that do not end by themselves.

    Args:
        longest: tokens per row that the timed rounds can need.
        in_a_row: rounds that are timed together.
    """

    def __init__(
        self,
        session: Session,
        mode: str,
        rows: int,
        context: int,
        block_length: int,
        longest: int,
        in_a_row: int = _IN_A_ROW,
    ) -> None:
        self.batch = Batch(session)
        self.in_a_row = in_a_row
        self.mode = mode
        self._request = Request(
            prompt_ids=_tokens(session, context),
            mode=mode,  # type: ignore[arg-type]
            block_length=block_length,
            max_new_tokens=longest - context,
            threshold=0.0 if mode == names.LINEAR else None,
            eos_token_id=NEVER,
            temperature=0.0,
        )
        self._rows = rows

    def round(self) -> tuple[float, float]:
        """Return the seconds of a round, and how many of them were inside the engine.

        Each call submits new requests, because the single forwards that are timed in between write into the same
        caches. The prefill and the first rounds of the requests are not timed.
        """
        batch = self.batch
        rows = [batch.submit(self._request) for _ in range(self._rows)]
        steps = 2 if self.mode == names.LINEAR else 1
        while any(row.in_prefill for row in rows):
            batch.step()
        for _ in range(_UNTIMED_ROUNDS * steps):
            batch.step()
        engine = batch.engine_seconds
        started = time.perf_counter()
        for _ in range(self.in_a_row * steps):
            batch.step()
        seconds = (time.perf_counter() - started) / self.in_a_row
        engine = (batch.engine_seconds - engine) / self.in_a_row
        for row in rows:
            batch.cancel(row)
        list(batch.run())
        return seconds, engine


def _tokens(session: Session, count: int) -> tuple[int, ...]:
    """Return some tokens other than MASK. Their values do not change the time."""
    config = session.info.config
    usual = [token for token in range(config.vocab_size) if token != config.mask_token_id]
    return tuple(usual[7 * place % len(usual)] for place in range(count))


def _forward(session: Session, rows: int, context: int, width: int, *, causal: bool) -> StepBuffers:
    """Buffers of a forward of ``width`` tokens per row after ``context`` cached ones."""
    limits = session.info.limits
    rows = session.row_count(rows)
    session.reserve(rows, min(context + width + limits.max_block_length, limits.capacity))
    settings = PassSettings(adapter=not causal)
    return fill(session, [Pass(_tokens(session, width), context, causal=causal, settings=settings)] * rows)


def _timed(session: Session, buffers: StepBuffers) -> float:
    """Return the seconds per forward when forwards are launched as fast as the session takes them."""
    execute(session, buffers)
    started = time.perf_counter()
    for _ in range(_IN_A_ROW):
        session.launch(buffers)
    session.wait(buffers)
    return (time.perf_counter() - started) / _IN_A_ROW

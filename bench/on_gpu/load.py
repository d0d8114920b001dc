# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Part 6: an engine of the 8B shapes under mixed load, and its cost table.

Four requests decode token by token, beside four of their kind, then beside four that decode by linear speculation;
seven decode token by token while a prompt of 2,000 tokens arrives; and the table of what a forward costs, over rows and
width. The weights are random, so that nearly no draft is accepted: what the neighbours' forwards cost does not depend
on it. Times are those of the batch's loop in this process, without a server.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from nld_trt import names
from nld_trt.decode.auto.costs import CostTable, Origin
from nld_trt.decode.batch import Batch
from nld_trt.decode.request import NEVER, Request
from nld_trt.decode.row import Row
from nld_trt.engine.session import Session
from nld_trt.graph.contract import Limits
from nld_trt.machine.clocks import clocks
from nld_trt.measure.cost_table import measure_costs
from on_gpu.engines import Shape, golden_engine, open_random
from on_gpu.settings import Settings

_WARM_UP = 2
_SIZE, _BLOCK, _PROMPT, _CONTEXT = "8b", 32, 2000, 256
_LIMITS = Limits(max_batch_size=8, max_seq_len=4096, max_block_length=_BLOCK, prompt_chunk=512)
# The cost table's engine, with more rows and shorter ones.
_TABLE_LIMITS = Limits(max_batch_size=64, max_seq_len=1024, max_block_length=_BLOCK, prompt_chunk=512)


def run(settings: Settings) -> dict[str, Any]:
    if settings.on_gpu:
        session, long = open_random(Shape(_SIZE, names.BF16, "float", _LIMITS)), _PROMPT
    else:
        session, long = golden_engine("tiny-a", names.FP32, settings).open_session(names.TORCH), 200
    seconds = 0.5 if settings.quick else 3.0
    costs = measure_costs(session, _origin(settings), budget=2.0)
    own, others = (_neighbours(session, mode, seconds, costs) for mode in (names.AR, names.LINEAR))
    found: dict[str, Any] = {
        "shapes": _SIZE if settings.on_gpu else "tiny-a",
        "ar_tokens_per_second": {"beside 4 of ar": own, "beside 4 of linear": others},
        "prompts": _prompts(session, long, arrivals=1 if settings.quick else 6),
    }
    del session
    if settings.on_gpu:
        session = open_random(Shape(_SIZE, names.BF16, "float", _TABLE_LIMITS))
        found["costs"] = measure_costs(session, _origin(settings), budget=4.0 if settings.quick else 12.0).to_dict()
    prompts = found["prompts"]
    aims = {
        "4 of ar beside 4 of linear": (others / own, ">=", 0.75),
        "ITL p99 over p50 while prompts arrive": (prompts["itl_p99_ms"] / prompts["itl_p50_ms"], "<=", 2.0),
    }
    targets = {
        name: {"measured": value, "target": f"{sign} {aim}", "met": value >= aim if sign == ">=" else value <= aim}
        for name, (value, sign, aim) in aims.items()
    }
    return {**found, "targets": targets}


def _origin(settings: Settings) -> Origin:
    gpu = settings.on_gpu
    return Origin("8B shapes, random weights", "this machine", names.TORCH, names.BF16, clocks=clocks(gpu=gpu))


def _request(session: Session, mode: str, length: int, new: int, seed: int) -> Request:
    prompt = np.random.default_rng(seed).integers(5, 64, length)
    return Request(
        prompt_ids=tuple(int(token) for token in prompt),
        mode=mode,  # type: ignore[arg-type]
        block_length=None if mode == names.AR else min(_BLOCK, session.info.limits.max_block_length),
        max_new_tokens=new,
        eos_token_id=NEVER,
        temperature=0.0,
    )


def _start(batch: Batch, session: Session, modes: Sequence[str], context: int) -> list[Row]:
    """Submit a request per mode, of ``context`` tokens, that goes on to the engine's end; return them after prefill."""
    new = session.info.limits.max_seq_len - context - 2 * _BLOCK
    rows = [batch.submit(_request(session, mode, context, new, seed)) for seed, mode in enumerate(modes)]
    while any(row.in_prefill for row in rows):
        batch.step()
    for _ in range(16):
        batch.step()
    return rows


def _neighbours(session: Session, mode: str, seconds: float, costs: CostTable) -> float:
    """Tokens per second of four requests of ar, beside four of ``mode``, as a server's batch would have them."""
    batch = Batch(session, costs=costs)
    context = min(_CONTEXT, session.info.limits.max_seq_len // 4)
    rows = _start(batch, session, [names.AR] * 4 + [mode] * 4, context)
    before, started = sum(row.cache_length for row in rows[:4]), time.perf_counter()
    while time.perf_counter() - started < seconds and all(row.finish_reason is None for row in rows):
        batch.step()
    passed = time.perf_counter() - started
    made = sum(row.cache_length for row in rows[:4]) - before
    batch.reset()
    return made / passed


def _prompts(session: Session, long: int, arrivals: int) -> dict[str, Any]:
    """Milliseconds between tokens of seven requests of ar while a long prompt is read, and until its first token."""
    batch = Batch(session)
    rows = _start(batch, session, [names.AR] * 7, 32)
    alone = _gaps(batch, rows, until=lambda: False, steps=50)
    gaps: list[float] = []
    first: list[float] = []
    # The first arrivals meet shapes whose kernels have to be compiled and whose graphs have to be captured.
    for arrival in range(-_WARM_UP, arrivals):
        guest = batch.submit(_request(session, names.AR, long, 4, 100 + arrival))
        started = time.perf_counter()
        between = _gaps(batch, rows, until=lambda guest=guest: not guest.in_prefill)
        if arrival >= 0:
            gaps += between
            first.append(time.perf_counter() - started)
        while guest.finish_reason is None:
            batch.step()
    batch.reset()
    p50, p99 = (float(np.percentile(gaps, percent)) * 1e3 for percent in (50, 99))
    return {
        "prompt_tokens": long,
        "arrivals": arrivals,
        "itl_p50_ms": p50,
        "itl_p99_ms": p99,
        "itl_alone_p50_ms": statistics.median(alone) * 1e3,
        "ttft_ms": statistics.median(first) * 1e3,
    }


def _gaps(batch: Batch, rows: Sequence[Row], *, until: Any, steps: int | None = None) -> list[float]:
    """Seconds between two tokens of each of ``rows``, while it steps."""
    lengths, at = [row.cache_length for row in rows], [time.perf_counter()] * len(rows)
    gaps: list[float] = []
    while not until() and (steps is None or steps > 0):
        batch.step()
        steps = None if steps is None else steps - 1
        now = time.perf_counter()
        for index, row in enumerate(rows):
            if row.cache_length > lengths[index]:
                gaps.append(now - at[index])
                lengths[index], at[index] = row.cache_length, now
    return gaps

# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""What a served model computes before its first client, so that no client waits for work that is only done once.

A GPU session compiles and captures each shape of a forward separately: each number of rows, with and without a
temperature, and each number of slots that attention is given. A CPU session has hardly anything to prepare.

``model_warmup`` in the configuration would work for this model, but would need binary tensor files in the repository
and would be counted in the metrics.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from nld_trt import names
from nld_trt.decode.auto.candidate import BLOCK_LENGTHS
from nld_trt.decode.batch import Batch
from nld_trt.decode.request import Request, modes_of
from nld_trt.engine.session import EngineInfo, Session
from nld_trt.names import NEVER

# Forwards of a shape after which a GPU session has compiled and captured it.
_RUNS_UNTIL_READY = 2


def warm_up(session: Session) -> None:
    """Decode a few tokens in every mode and, on a GPU, with every shape that decoding may have."""
    info = session.info
    counts, temperatures = {1}, [0.0]
    blocks: tuple[int, ...] = ()
    if session.runs_ahead:
        counts = {session.row_count(rows + 1) for rows in range(info.limits.max_batch_size)}
        temperatures = [0.0, 1.0]
        blocks = BLOCK_LENGTHS
    batch = Batch(session)
    for length in session.attended_lengths:
        batch.slots.least = length if length > session.attended_lengths[0] else 0
        for (mode, block), temperature, rows in product(_ways(info, blocks), temperatures, sorted(counts)):
            _decode(batch, mode, block, temperature, rows)
        if session.runs_ahead and not info.config.family.reads_canvas:
            _read_chunks(batch)


def _ways(info: EngineInfo, blocks: tuple[int, ...]) -> Iterator[tuple[names.ModeName, int | None]]:
    """Modes, each with its default block length, and of ``blocks`` those that mode auto may choose as well."""
    yield from ((mode, None) for mode in modes_of(info))
    if names.AUTO in info.config.family.modes:
        yield from ((names.LINEAR, block) for block in blocks if block < info.default_block_length)


def _decode(batch: Batch, mode: names.ModeName, block: int | None, temperature: float, rows: int) -> None:
    """Decode a whole block and one more token, which are two rounds in the block modes."""
    info = batch.session.info
    request = Request(
        _token(info), mode, max_new_tokens=min(info.default_block_length + 1, info.limits.max_seq_len - 1),
        block_length=block, threshold=0.0, eos_token_id=NEVER, temperature=temperature,
    )  # fmt: skip
    for _ in range(rows):
        batch.submit(request)
    list(batch.run())


def _read_chunks(batch: Batch) -> None:
    """Read prompts of a whole chunk."""
    info = batch.session.info
    prompt = _token(info) * min(info.limits.prompt_chunk, info.limits.max_seq_len - 1)
    for _ in range(_RUNS_UNTIL_READY):
        batch.submit(Request(prompt, modes_of(info)[0], max_new_tokens=1, eos_token_id=NEVER))
        list(batch.run())


def _token(info: EngineInfo) -> tuple[int, ...]:
    """A prompt of one token."""
    bos = info.config.bos_token_id
    return (info.config.eos_token_id if bos is None else bos,)

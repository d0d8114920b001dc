# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``Advance`` in NumPy, row by row, with random passes to compare its kernel on.

docs/model.md says what each mode does with a pass. Like ``reference``, this shares no code with the ONNX function or
the kernel.

Shapes: B rows, W window tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nld_trt import names
from nld_trt.engine.gpu.kernels.spec import ADVANCE, TENSORS
from nld_trt.graph.step.tensors import PROGRAMS
from nld_trt.measure.kernels.cases import MASK
from nld_trt.measure.kernels.reference import Array, Values
from nld_trt.model.config import MAX_EOS_IDS
from nld_trt.names import Program

# Takes the inputs of the operator by name, and returns its outputs by name.
Step = Callable[[dict[str, Array]], dict[str, Array]]

# (rows, window slots): windows of less and of more than a warp, up to the widest. Quadratic passes of 3, 5 and 15
# drafts are 12, 30 and 240 slots wide.
SIZES = ((1, 1), (64, 1), (8, 5), (64, 12), (64, 30), (64, 32), (64, 33), (16, 64), (64, 240), (64, 256))
# Programs whose blocks are denoised and committed whole.
_DIFFUSION = (names.DIFFUSION, names.BLOCKS)
# Few tokens, so that EOS and MASK are met often.
_TOKENS = 12


def random_passes(rows: int, width: int, seed: int = 0, *, mask_token_id: int = MASK) -> dict[str, Array]:
    """The inputs of the operator, by name, for passes of every program. A row that holds may have any count."""
    rng = np.random.default_rng((rows, width, seed))
    vocabulary = np.append(np.arange(_TOKENS), mask_token_id)
    quadratic = [count for count in range(1, 16) if count + count**2 <= width]
    program = rng.integers(0, len(PROGRAMS), rows)
    in_segments = (program == PROGRAMS.index(names.QUADRATIC)) & (rng.random(rows) < 0.8) & bool(quadratic)
    segments = np.where(in_segments, rng.choice(quadratic or [0], rows), 0)
    valid = np.where(in_segments, segments + segments**2, rng.integers(1, width + 1, rows))
    holds = program == PROGRAMS.index(names.HOLD)
    valid = np.where(holds, rng.integers(0, 2 * width + 1, rows), valid)
    accepted = rng.integers(1, np.maximum(np.where(in_segments, segments, np.minimum(valid, width)), 1) + 1)
    finite = rng.random(rows) < 0.9
    eos = rng.choice([*range(_TOKENS), -1], (rows, MAX_EOS_IDS), p=[*[0.2 / _TOKENS] * _TOKENS, 0.8])
    values: dict[str, Any] = {
        "block": rng.choice(vocabulary, (rows, width)),
        "cache_length": rng.integers(0, 10**6, rows),
        "valid_count": valid,
        "causal": in_segments | (rng.random(rows) < 0.5),
        "segments": segments,
        "sample": rng.integers(0, 50, rows),
        "eos_token_id": eos,
        "program": program,
        "tokens_left": rng.choice([0, 1, 2, width, 1000], rows),
        "block_tokens": rng.choice(vocabulary, (rows, width), p=[*[0.95 / _TOKENS] * _TOKENS, 0.05]),
        "masks_left": rng.integers(0, 3, rows),
        "verified_tokens": np.where(finite[:, None], rng.integers(0, _TOKENS, (rows, width)), -1),
        "accepted_count": np.where(finite, accepted, 0),
        "bonus_token": np.where(finite, rng.integers(0, _TOKENS, rows), -1),
        "eos_position": np.where(rng.random(rows) < 0.3, rng.integers(0, width, rows), width),
        "finite": finite,
    }
    return {name: value.astype(TENSORS[name].dtype) for name, value in values.items()}


def of_blocks(values: Values, program: Program, *, causal: bool) -> dict[str, Array]:
    """``values`` of a step on whole blocks, with the inputs of the operator that the step has not: rows that go on."""
    rows, width = values["block"].shape
    settings: dict[str, Any] = {
        "cache_length": 1000,
        "valid_count": width,
        "causal": causal,
        "segments": 0,
        "program": PROGRAMS.index(program),
        "tokens_left": 1000,
    }
    return {**values, **{name: np.full(rows, value, TENSORS[name].dtype) for name, value in settings.items()}}


def expected(values: Values, mask_token_id: int = MASK) -> dict[str, Array]:
    """The outputs of the operator, by name."""
    count = len(values["block"])
    rows = [_row({name: value[row] for name, value in values.items()}, mask_token_id) for row in range(count)]
    return {name: np.stack([row[name] for row in rows]).astype(TENSORS[name].dtype) for name in ADVANCE.outputs}


def _row(this: Values, mask_token_id: int) -> dict[str, Any]:
    """The same for one row, whose tensors have no axis for rows."""
    block, written = this["block"].tolist(), this["block_tokens"].tolist()
    valid, left, causal = int(this["valid_count"]), int(this["tokens_left"]), bool(this["causal"])
    program = PROGRAMS[int(this["program"])]
    repeated = {
        "next_tokens": block,
        "next_cache_length": this["cache_length"],
        "next_causal": causal,
        "next_sample": this["sample"],
        "next_tokens_left": left,
    }
    if program == names.HOLD or left <= 0:
        return repeated
    over = repeated | {"next_tokens_left": 0}
    if not this["finite"]:
        return over
    eos = {token for token in this["eos_token_id"].tolist() if token >= 0}
    if not causal:
        diffuses = program in _DIFFUSION
        filled = not this["masks_left"] or (diffuses and _complete(written[:valid], eos, mask_token_id))
        sample = this["sample"] + 1 if diffuses and not filled else 0
        return repeated | {"next_tokens": written, "next_causal": filled, "next_sample": sample}
    if program in _DIFFUSION:
        committed, ends = valid, bool(eos & set(block[:valid]))
        bonus = this["verified_tokens"][min(valid, len(block)) - 1]
    else:
        committed, ends = int(this["accepted_count"]), bool(this["eos_position"] < len(block))
        bonus = this["bonus_token"]
    if ends or committed >= left:
        return over
    count = int(this["segments"])
    opened = [mask_token_id if slot < valid else 0 for slot in range(len(block))]
    opened[:count] = written[committed * count :][:count] if count else []
    opened[0] = mask_token_id if program == names.BLOCKS else bonus
    return {
        "next_tokens": opened,
        "next_cache_length": this["cache_length"] + committed,
        "next_causal": program == names.QUADRATIC or (valid == 1 and program != names.BLOCKS),
        "next_sample": 0,
        "next_tokens_left": left - committed,
    }


def _complete(written: list[int], eos: set[int], mask_token_id: int) -> bool:
    """A block has EOS, and no mask before it."""
    for token in written:
        if token in eos or token == mask_token_id:
            return token in eos
    return False


def problems(step: Step) -> Iterator[str]:
    """The outputs that ``step`` gets wrong, each described with its inputs."""
    for rows, width in SIZES:
        values = random_passes(rows, width)
        found, right = step(values), expected(values)
        for name in ADVANCE.outputs:
            if not np.array_equal(found[name], right[name]):
                yield f"{name} at {rows} x {width}"

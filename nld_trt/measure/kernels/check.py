# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The check of the kernels on the GPU where they run: every result is compared with the definition in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nld_trt.measure.kernels import next_pass, reference
from nld_trt.measure.kernels.cases import DTYPES, MASK, PATTERNS, ROWS, SIZES, case, filtered, spoils, with_rows
from nld_trt.measure.kernels.reference import Array, Values

# A decode step: takes inputs by name and the type of the logits, and returns outputs by name.
Step = Callable[[dict[str, Array], str], dict[str, Array]]

# The largest of each size with the smallest of the others: all three at once would take 2 GB.
CORNERS = ((64, 1, 131071), (1, 64, 131071), (1, 64, 131072), (64, 64, 257))
PATTERN_SIZES = ((4, 9, 1000), (2, 64, 257), (4, 3, 131071), (4, 3, 131072))
# The vocabularies of batches in which one row is spoiled.
SPOILED_VOCABS = (257, 9000, 131071, 131072)
_ROWS, _WIDTH, _VALID = 3, 5, 4
_SPOILED_ROW, _REAL_SLOT, _PADDING_SLOT = 1, 2, 4


def problems(step: Step, advance: next_pass.Step) -> list[str]:
    """The results that ``step`` and ``advance`` get wrong, each described with its inputs."""
    return [*_against_the_definition(step), *_of_spoiled_rows(step), *next_pass.problems(advance)]


def _against_the_definition(step: Step) -> Iterator[str]:
    inputs = [("random logits", None, sizes) for sizes in (*SIZES, *CORNERS)]
    patterned = [(name, pattern, sizes) for name, pattern in PATTERNS.items() for sizes in PATTERN_SIZES]
    for name, pattern, sizes in (*inputs, *patterned):
        for logit_type in DTYPES:
            values = filtered(case(*sizes, logit_type, pattern=pattern))
            for rows in _kinds_of_rows(sizes[0]):
                given = with_rows(values, rows)
                for problem in reference.differences(step(given, logit_type), given, MASK):
                    yield f"{problem} at {' x '.join(map(str, sizes))}, {logit_type}, {rows} rows, {name}"


def _kinds_of_rows(batch: int) -> list[str]:
    """The names in ROWS that fit a batch: a single row cannot have mixed temperatures."""
    return [name for name, temperatures in ROWS.items() if batch > 1 or len(temperatures) == 1]


def _of_spoiled_rows(step: Step) -> Iterator[str]:
    for vocab in SPOILED_VOCABS:
        for logit_type in DTYPES:
            for rows in ROWS:
                values = spoilable(vocab, logit_type, rows)
                for name, spoil in spoils(vocab).items():
                    for problem in spoiled_problems(step, values, logit_type, spoil):
                        yield f"{problem}, with {name}, vocabulary {vocab}, {logit_type}, {rows} rows"


def spoilable(vocab: int, logit_type: str, rows: str) -> dict[str, Array]:
    """Inputs whose rows are all masks, so that the logits of any of them can be spoiled."""
    values = case(_ROWS, _WIDTH, vocab, logit_type)
    limits = {"block": np.full((_ROWS, _WIDTH), MASK), "valid": np.full(_ROWS, _VALID), "threshold": np.zeros(_ROWS)}
    return with_rows(values | {name: value.astype(values[name].dtype) for name, value in limits.items()}, rows)


def spoiled_problems(
    step: Step, values: dict[str, Array], logit_type: str, spoil: Callable[[Array], None]
) -> Iterator[str]:
    """The results that are wrong once ``spoil`` changed logits of one row: of a real slot, then of a padding slot."""
    others = np.arange(_ROWS) != _SPOILED_ROW
    alone = step({name: value[others] for name, value in values.items()}, logit_type)
    found = step(_spoiled(values, spoil, _REAL_SLOT), logit_type)
    for name, expected in _left_alone(values).items():
        if not np.array_equal(found[name][_SPOILED_ROW], expected):
            yield f"{name} of a spoiled row"
    if found["verified_tokens"][_SPOILED_ROW, _REAL_SLOT] != -1:
        yield "verified_tokens of a spoiled slot"
    yield from (f"{name} of a spoiled row's neighbour" for name in _unequal(_of_rows(found, others), alone))
    sound = step(values, logit_type)
    padded = step(_spoiled(values, spoil, _PADDING_SLOT), logit_type)
    yield from (f"{name} of a row with spoiled padding" for name in _unequal(padded, sound) - {"verified_tokens"})


def _spoiled(values: dict[str, Array], spoil: Callable[[Array], None], slot: int) -> dict[str, Array]:
    logits = values["logits"].copy()
    spoil(logits[_SPOILED_ROW, slot])
    return values | {"logits": logits}


def _left_alone(values: Values) -> dict[str, Array]:
    """The outputs that a row must have whose logits are not numbers, by name."""
    expected: dict[str, Any] = {
        "finite": 0,
        "block_tokens": values["block"][_SPOILED_ROW],
        "masks_left": _VALID,
        "confidence": np.full(_WIDTH, -1.0, np.float32),
        "accepted_count": 0,
        "bonus_token": -1,
        "eos_position": _WIDTH,
    }
    return {name: np.asarray(value) for name, value in expected.items()}


def _of_rows(found: Values, rows: Array) -> dict[str, Array]:
    return {name: value[rows] for name, value in found.items()}


def _unequal(found: Values, expected: Values) -> set[str]:
    return {name for name in found if found[name].tobytes() != expected[name].tobytes()}

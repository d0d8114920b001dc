# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Greedy texts that must be the same: where they part, the two tokens must be as likely as rounding can tell.

Kernels for one token and for many add in different orders, and which kernels a machine has is its own affair. Two
logits that are equal but for that may change places from one machine to another; nothing else may.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nld_trt.engine.session import Session
from tests.graph.passes import run_pass

# Tokens and why the text ends.
Text = tuple[Sequence[int], str]


def next_logits(session: Session, ids: Sequence[int]) -> np.ndarray:
    """[V]: what follows ``ids``, by a session with debug outputs."""
    return run_pass(session, list(ids), cache_length=0, causal=True, adapter=False)["logits"][0, -1]


def parting(left: Sequence[int], right: Sequence[int]) -> int | None:
    """The first place where two texts have different tokens; None where one is a beginning of the other."""
    return next((place for place, (one, other) in enumerate(zip(left, right, strict=False)) if one != other), None)


def assert_same_texts(
    found: Sequence[Text],
    expected: Sequence[Text],
    prompts: Sequence[Sequence[int]],
    logits: Callable[[Sequence[int]], np.ndarray],
    *,
    closer_than: float,
) -> None:
    """Every text equals its twin, or parts from it at two best tokens whose logits are closer than ``closer_than``.

    At most one text in twenty may part.
    """
    parted = 0
    for text, twin, prompt in zip(found, expected, prompts, strict=True):
        if text == twin:
            continue
        place = parting(text[0], twin[0])
        assert place is not None, (text, twin)
        values = logits([*prompt, *text[0][:place]])
        tokens = [text[0][place], twin[0][place]]
        assert values.max() - values[tokens].min() < closer_than, (place, tokens, values[tokens], values.max())
        parted += 1
    assert parted <= len(found) / 20

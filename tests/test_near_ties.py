# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Texts may part at a tie and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from tests.near_ties import assert_same_texts

TEXT = ([3, 1, 2], "length")


def compare(other, *, count: int = 20, margin: float) -> list:
    """Twenty texts, the first of them beside ``other``; token 1 leads by ``margin`` wherever they part."""
    asked = []

    def logits(ids):
        asked.append(ids)
        return np.array([0.0, 5.0, 5.0 - margin, -1.0])

    assert_same_texts([other] + [TEXT] * (count - 1), [TEXT] * count, [(7, 8)] * count, logits, closer_than=1e-3)
    return asked


def test_a_tie_may_fall_to_either_side():
    assert compare(([3, 2, 0], "stop"), margin=1e-5) == [[7, 8, 3]]


@pytest.mark.parametrize(
    ("other", "margin"),
    [
        (([3, 2, 0], "length"), 0.1),  # token 1 is clearly better
        (([3, 0, 2], "length"), 1e-5),  # a token that is no candidate
        (([3, 1], "length"), 1e-5),  # a text that ends sooner
        (([3, 1, 2], "stop"), 1e-5),  # the same tokens and another reason
    ],
)
def test_other_differences_are_found(other, margin):
    with pytest.raises(AssertionError):
        compare(other, margin=margin)


def test_many_ties_are_no_accident():
    with pytest.raises(AssertionError):
        compare(([3, 2, 0], "stop"), count=19, margin=1e-5)

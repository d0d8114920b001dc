# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The chi-square test: are counts those of a distribution?"""

from __future__ import annotations

import numpy as np

# For 1 in 10 million: with fixed seeds a test passes for good or not at all.
_NORMAL_QUANTILE = 5.2


def chi_square(counts, probabilities):
    """(statistic, limit) of counts against the probabilities of the classes.

    Classes that are expected less than 8 times are counted as one.
    """
    expected = probabilities * counts.sum()
    rare = expected < 8
    found = np.append(counts[~rare], counts[rare].sum())
    wanted = np.append(expected[~rare], expected[rare].sum())
    found, wanted = found[wanted > 0], wanted[wanted > 0]
    assert found.sum() == counts.sum(), "a token was drawn that has no probability"
    freedom = len(found) - 1
    # Wilson and Hilferty's approximation of the quantile.
    part = 2 / (9 * freedom)
    return ((found - wanted) ** 2 / wanted).sum(), freedom * (1 - part + _NORMAL_QUANTILE * part**0.5) ** 3
